/** The questions that the demo asks in SQL, about what was recorded since it began. */
export interface DemoQuestion {
  readonly title: string;
  readonly sql: string;
}

const since = "occurred_at >= {since:DateTime64(6, 'UTC')}";

export const questions: readonly DemoQuestion[] = [
  {
    title: 'Who called which server, and how did it go?',
    sql: `SELECT actor_id AS actor, server_name AS server, count() AS calls,
       countIf(outcome != 'success') AS failed,
       round(median(duration_ms), 1) AS median_ms
FROM calls WHERE ${since}
GROUP BY actor, server ORDER BY calls DESC, actor, server`,
  },
  {
    title: 'What did agent-7 try that was refused?',
    sql: `SELECT if(tool_name = '', method, tool_name) AS what,
       arguments, error_message AS error
FROM calls WHERE ${since} AND actor_id = 'agent-7' AND outcome != 'success'
ORDER BY occurred_at`,
  },
  {
    title: 'Which secrets were about to be written down?',
    sql: `SELECT server_name AS server, tool_name AS tool,
       arrayJoin(redactions) AS redacted, arguments
FROM calls WHERE ${since} AND notEmpty(redactions)
ORDER BY occurred_at LIMIT 10`,
  },
];

/** The question as a person would type it, without the bound that keeps the demo to its own calls. */
export function shortSql(question: DemoQuestion): string {
  return question.sql.replace(`WHERE ${since} AND `, 'WHERE ').replace(` WHERE ${since}`, '');
}
