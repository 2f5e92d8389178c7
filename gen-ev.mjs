const t0=Date.UTC(2026,0,5,9);
for (let i=0;i<400;i++) console.log(JSON.stringify({occurred_at:new Date(t0+i*700).toISOString(),actor_id:'ann',tool_name:'search',method:'tools/call',event_id:`00000000-0000-7000-8000-${String(i).padStart(12,'0')}`}));
console.log('nonsense');
