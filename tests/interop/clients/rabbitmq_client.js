// Drives rabbitmq-client, another library for Node.js, which reads bodies by counting full frames; see node.js.
'use strict';

const { Connection } = require(require.resolve('rabbitmq-client', { paths: [process.cwd()] }));

const URL = `amqp://guest:guest@127.0.0.1:${process.env.INTEROP_PORT}`;
const CHECK_MS_MAX = 20000;
const SIZES = [0, 1, 8183, 8184, 8185, 131064, 131072, 1000000];
const checks = {};

const using = (options, work) => async () => {
  const connection = new Connection({ url: URL, retryLow: 100, ...options });
  try {
    return await new Promise((resolve, reject) => {
      connection.on('error', reject);
      setTimeout(() => reject(new Error('waited in vain')), CHECK_MS_MAX).unref();
      work(connection).then(resolve, reject);
    });
  } finally {
    connection.unsafeDestroy();
  }
};

const equal = (found, wanted, what) => {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one} instead of ${other}`);
};

// What a consumer gets of what `publish` sends to its queue.
const delivered = async (connection, count, publish) => {
  const queue = `interop-${Math.random()}`;
  const got = [];
  let done;
  const all = new Promise((resolve) => { done = resolve; });
  const consumer = connection.createConsumer(
    { queue, queueOptions: { autoDelete: true }, qos: { prefetchCount: 7 } },
    async (message) => { if (got.push(message) === count) done(); },
  );
  await new Promise((resolve, reject) => consumer.on('ready', resolve).on('error', reject));
  const publisher = connection.createPublisher({ confirm: true });
  await publish(publisher, queue);
  await all;
  await publisher.close();
  await consumer.close();
  return got;
};

for (const frameMax of [4096, 8192, 131072]) {
  checks[`bodies_of_every_size_with_frames_of_${frameMax}`] = using({ frameMax }, async (connection) => {
    const got = await delivered(connection, SIZES.length, async (publisher, queue) => {
      for (const size of SIZES) await publisher.send(queue, Buffer.alloc(size, 'x'));
    });
    equal(got.map((message) => message.body.length), SIZES, 'sizes');
  });
}

checks.five_hundred_confirms = using({}, async (connection) => {
  const got = await delivered(connection, 500, (publisher, queue) =>
    Promise.all(Array.from({ length: 500 }, (_, number) => publisher.send(queue, { number }))));
  equal(got.map((message) => message.body.number).sort((a, b) => a - b), [...Array(500).keys()], 'numbers');
});

checks.large_returns = using({}, async (connection) => {
  const publisher = connection.createPublisher({ confirm: true });
  const returned = new Promise((resolve) => publisher.on('basic.return', resolve));
  await publisher.send({ routingKey: 'nobody', mandatory: true }, Buffer.alloc(200000, 'x'));
  const message = await returned;
  equal([message.replyCode, message.body.length], [312, 200000], 'return');
  await publisher.close();
});

checks.call_and_answer = using({}, async (connection) => {
  const server = connection.createConsumer(
    { queue: 'interop-calls', queueOptions: { autoDelete: true } },
    async (message, reply) => { await reply(`re: ${message.body}`); },
  );
  await new Promise((resolve) => server.on('ready', resolve));
  const client = connection.createRPCClient({ confirm: true });
  equal((await client.send('interop-calls', 'ping')).body, 're: ping', 'answer');
  await client.close();
  await server.close();
});

checks.channel_error_leaves_the_connection = using({}, async (connection) => {
  const error = await connection.queueDeclare({ queue: 'nowhere', passive: true }).catch((refused) => refused);
  equal(error.code, 'NOT_FOUND', 'code');
  await connection.queueDeclare({ queue: 'interop-fine', exclusive: true });
  await connection.close();
});

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    const started = Date.now();
    let line = `ok ${name}`;
    try {
      await check();
    } catch (error) {
      line = `not ok ${name} # ${String(error.message).split('\n')[0]}`;
    }
    console.log(`${line} (${((Date.now() - started) / 1000).toFixed(2)}s)`);
  }
  process.exit(0);
})();
