import { alertsTopic } from './alert.js';
import { deadTopic } from './dead.js';
import { deliveriesTopic } from './delivery.js';
import { eventFields } from './event.js';
import type { Fields } from './field.js';
import { queriesTopic } from './question.js';
import type { RecordTopic } from './record-topic.js';
import { responsesTopic } from './response.js';
import { savedQueriesTopic } from './saved-query.js';
import { throttleTopic } from './throttle-topic.js';

/** Topics whose records are stored as they are, each in the table of its name. Calls have a way of their own. */
export const recordTopics = {
  alerts: alertsTopic,
  dead: deadTopic,
  deliveries: deliveriesTopic,
  queries: queriesTopic,
  responses: responsesTopic,
  saved_queries: savedQueriesTopic,
  throttle: throttleTopic,
} as const satisfies Record<string, RecordTopic>;

export type RecordTopicName = keyof typeof recordTopics;
export const recordTopicNames = Object.keys(recordTopics) as RecordTopicName[];

/** Tables that take records of the stream, each from the topic of its name. */
export type RecordTable = 'calls' | RecordTopicName;

/** The columns of each table, in the order of its blocks. */
export const tableFields: Readonly<Record<RecordTable, Fields>> = {
  calls: eventFields,
  ...(Object.fromEntries(recordTopicNames.map((name) => [name, recordTopics[name].fields])) as Record<
    RecordTopicName,
    Fields
  >),
};
