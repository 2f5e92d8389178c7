/** Sends one event and has nothing else to do: then the process must end by itself. */
import { kafkaSink } from '../../services/emitter/kafka-sink.js';

const [brokers = '', topicPrefix = '', line = ''] = process.argv.slice(2);
const sink = kafkaSink({ brokers: brokers.split(','), topicPrefix });
// What a server has to do, for as long as the event is under way.
const busy = setInterval(() => undefined, 1_000);
const answer = await sink.send([line], new AbortController().signal);
clearInterval(busy);
process.stdout.write(JSON.stringify(answer));
