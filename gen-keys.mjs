const t0=Date.UTC(2026,0,5,9); let n=0;
for (let round=0;round<3;round++) for (let i=0;i<120000;i++) console.log(JSON.stringify({occurred_at:new Date(t0+round*60000+i/2).toISOString(),actor_id:'actor'+i,tool_name:'search',event_id:`00000000-0000-7000-8000-${(n++).toString(16).padStart(12,'0')}`}));
