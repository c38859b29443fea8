// Drives amqplib through everything an application does with it. Each check is a line: "ok NAME" or
// "not ok NAME # why"; the comparison of three routes says what differs.
'use strict';

// Its package is in the folder that this is run in, not beside this file.
const amqp = require(require.resolve('amqplib', { paths: [process.cwd()] }));

const PORT = process.env.INTEROP_PORT;
const URL = `amqp://guest:guest@127.0.0.1:${PORT}/`;
const CHECK_MS_MAX = 20000;
const checks = {};

const within = (work, what = 'an answer') =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`waited in vain for ${what}`)), CHECK_MS_MAX);
    work.then(resolve, reject).finally(() => clearTimeout(late));
  });

const event = (emitter, name) => within(new Promise((resolve) => emitter.once(name, (...args) => resolve(args))), name);

const equal = (found, wanted, what) => {
  const [one, other] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (one !== other) throw new Error(`${what}: ${one} instead of ${other}`);
};

const failure = async (promise) => {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error('it should have failed');
};

// A connection and a channel (with confirms if asked), closed after `work`.
const using = async (work, confirms = false, url = URL) => {
  const connection = await amqp.connect(url);
  connection.on('error', () => {});
  const channel = await (confirms ? connection.createConfirmChannel() : connection.createChannel());
  channel.on('error', () => {});
  try {
    return await work(channel, connection);
  } finally {
    await connection.close().catch(() => {});
  }
};

const fresh = async (channel, options = {}) => (await channel.assertQueue('', { exclusive: true, ...options })).queue;

const get = async (channel, queue) => {
  for (;;) {
    const message = await channel.get(queue);
    if (message) return message;
  }
};

checks.connect_and_close = async () => {
  const connection = await amqp.connect(URL);
  equal(connection.connection.serverProperties.product, 'RabbitMQ', 'product');
  const closed = event(connection, 'close');
  await connection.close();
  await closed;
};

checks.wrong_password_is_refused = async () => {
  const error = await failure(amqp.connect(`amqp://guest:wrong@127.0.0.1:${PORT}/`));
  equal(/403|ACCESS[-_]REFUSED/.test(error.message), true, error.message);
};

checks.missing_vhost_is_refused = async () => {
  const error = await failure(amqp.connect(`${URL}nowhere`));
  equal(/ConnectionClose/.test(error.message), true, error.message);
};

checks.two_hundred_channels_of_one_connection = () =>
  using(async (_, connection) => {
    const channels = [];
    for (let count = 0; count < 200; count++) channels.push(connection.createChannel());
    for (const channel of await Promise.all(channels)) await channel.close();
  });

checks.publish_and_get_with_every_property = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    const headers = { text: 'ü', number: -5, big: 2 ** 40, real: 1.5, yes: true, nothing: null, list: [1, 'a', { b: 2 }] };
    const wanted = {
      contentType: 'text/plain', contentEncoding: 'utf-8', deliveryMode: 2, priority: 3, correlationId: 'c',
      replyTo: 'r', expiration: '60000', messageId: 'm', timestamp: 1700000000, type: 't', userId: 'guest', appId: 'a',
    };
    channel.sendToQueue(queue, Buffer.from('body'), { ...wanted, headers });
    const { content, properties, fields } = await get(channel, queue);
    equal(content.toString(), 'body', 'body');
    for (const name of Object.keys(wanted)) equal(properties[name], wanted[name], name);
    for (const name of Object.keys(headers)) equal(properties.headers[name], headers[name], name);
    equal(fields.redelivered, false, 'redelivered');
    equal(await channel.get(queue), false, 'a second get');
  });

checks.headers_are_the_publishers_alone = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    channel.sendToQueue(queue, Buffer.from('x'), { headers: { mine: 1 } });
    equal((await get(channel, queue)).properties.headers, { mine: 1 }, 'headers');
  });

for (const size of [0, 1, 4095, 131064, 131072, 131073, 1000000, 4000000]) {
  checks[`body_of_${size}_bytes`] = () =>
    using(async (channel) => {
      const queue = await fresh(channel);
      const body = Buffer.alloc(size, 'abcdefg');
      channel.sendToQueue(queue, body);
      channel.sendToQueue(queue, Buffer.from('behind it'));
      equal((await get(channel, queue)).content.equals(body), true, 'body');
      equal((await get(channel, queue)).content.toString(), 'behind it', 'the next one');
    }, true);
}

checks.small_frames = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    const body = Buffer.alloc(100000, 'z');
    channel.sendToQueue(queue, body);
    equal((await get(channel, queue)).content.equals(body), true, 'body');
  }, true, `${URL}?frameMax=4096`);

checks.thousand_confirms = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    let confirmed = 0;
    for (let count = 0; count < 1000; count++) {
      channel.sendToQueue(queue, Buffer.from(`${count}`), {}, (error) => { if (!error) confirmed++; });
    }
    await within(channel.waitForConfirms(), 'the confirms');
    equal(confirmed, 1000, 'confirmed');
    equal((await channel.checkQueue(queue)).messageCount, 1000, 'stored');
  }, true);

checks.messages_keep_their_order = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    for (let count = 0; count < 500; count++) channel.sendToQueue(queue, Buffer.from(`${count}`));
    const got = [];
    await within(new Promise((resolve) => channel.consume(queue, (message) => {
      got.push(Number(message.content.toString()));
      channel.ack(message);
      if (got.length === 500) resolve();
    })), 'the messages');
    equal(got.every((value, index) => value === index), true, 'order');
  });

checks.unroutable_mandatory_is_returned_then_confirmed = () =>
  using(async (channel) => {
    const order = [];
    channel.once('return', () => order.push('return'));
    const returned = event(channel, 'return').then(([message]) => message);
    channel.publish('', 'nobody', Buffer.from('back'), { mandatory: true, headers: { mine: 1 } }, () => order.push('ack'));
    await within(channel.waitForConfirms());
    const message = await returned;
    equal([message.fields.replyCode, message.fields.replyText], [312, 'NO_ROUTE'], 'reply');
    equal(message.content.toString(), 'back', 'body');
    equal(message.properties.headers, { mine: 1 }, 'headers');
    equal(order, ['return', 'ack'], 'order');
  }, true);

checks.rejected_publish_is_nacked = () =>
  using(async (channel) => {
    const queue = await fresh(channel, { arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } });
    const outcomes = [];
    for (let count = 0; count < 3; count++) {
      await within(new Promise((resolve) => channel.sendToQueue(queue, Buffer.from('x'), {}, (error) => {
        outcomes.push(error ? 'nack' : 'ack');
        resolve();
      })));
    }
    equal(outcomes, ['ack', 'nack', 'nack'], 'outcomes');
  }, true);

checks.prefetch_bounds_what_is_delivered = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    await channel.prefetch(3);
    for (let count = 0; count < 10; count++) channel.sendToQueue(queue, Buffer.from('x'));
    const held = [];
    let all;
    const done = new Promise((resolve) => { all = resolve; });
    await channel.consume(queue, (message) => { held.push(message); if (held.length === 10) all(); });
    while (held.length < 3) await new Promise(setImmediate);
    equal((await channel.checkQueue(queue)).messageCount, 7, 'left in the queue');
    equal(held.length, 3, 'delivered');
    const acknowledge = () => { for (const message of held.splice(0)) { channel.ack(message); counted++; } };
    let counted = 0;
    while (counted < 10) { acknowledge(); await new Promise(setImmediate); }
    all();
    await done;
  });

checks.nack_and_reject_give_back_or_drop = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    channel.sendToQueue(queue, Buffer.from('x'));
    channel.nack(await get(channel, queue));
    const again = await get(channel, queue);
    equal(again.fields.redelivered, true, 'redelivered');
    channel.reject(again, false);
    equal(await channel.get(queue), false, 'dropped');
  });

checks.recover_delivers_again = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    channel.sendToQueue(queue, Buffer.from('x'));
    await get(channel, queue);
    await channel.recover();
    equal((await get(channel, queue)).fields.redelivered, true, 'redelivered');
  });

checks.cancel_stops_deliveries = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    const { consumerTag } = await channel.consume(queue, () => { throw new Error('delivered'); });
    await channel.cancel(consumerTag);
    channel.sendToQueue(queue, Buffer.from('x'));
    equal((await get(channel, queue)).content.toString(), 'x', 'left in the queue');
  });

checks.deleted_queue_cancels_its_consumer = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    const cancelled = new Promise((resolve) => channel.consume(queue, (message) => { if (message === null) resolve(); }));
    await channel.checkQueue(queue);
    await channel.deleteQueue(queue);
    await within(cancelled, 'the cancellation');
  });

checks.dead_letters_arrive = () =>
  using(async (channel) => {
    const target = await fresh(channel);
    const queue = await fresh(channel, { arguments: { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': target } });
    channel.sendToQueue(queue, Buffer.from('x'), { headers: { mine: 1 } });
    channel.nack(await get(channel, queue), false, false);
    const { properties } = await get(channel, target);
    equal([properties.headers['x-death'][0].reason, properties.headers.mine], ['rejected', 1], 'headers');
  });

checks.exchanges_and_bindings = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    await channel.assertExchange('interop-one', 'topic');
    await channel.assertExchange('interop-two', 'fanout');
    await channel.bindExchange('interop-two', 'interop-one', 'a.*');
    await channel.bindQueue(queue, 'interop-two', '');
    channel.publish('interop-one', 'b.c', Buffer.from('no'));
    channel.publish('interop-one', 'a.b', Buffer.from('yes'));
    equal((await get(channel, queue)).content.toString(), 'yes', 'routed');
    await channel.unbindQueue(queue, 'interop-two', '');
    channel.publish('interop-one', 'a.b', Buffer.from('no'));
    equal((await channel.purgeQueue(queue)).messageCount, 0, 'purged');
    await channel.deleteExchange('interop-one');
    await channel.deleteExchange('interop-two');
  });

checks.direct_reply_to = () =>
  using(async (channel) => {
    const queue = await fresh(channel);
    await channel.consume(queue, (message) => {
      channel.sendToQueue(message.properties.replyTo, Buffer.from('pong'));
    }, { noAck: true });
    const answer = new Promise((resolve) => channel.consume('amq.rabbitmq.reply-to', resolve, { noAck: true }));
    await channel.checkQueue(queue);
    channel.sendToQueue(queue, Buffer.from('ping'), { replyTo: 'amq.rabbitmq.reply-to' });
    equal((await within(answer, 'the reply')).content.toString(), 'pong', 'reply');
  });

const channelErrors = {
  missing_queue: [(channel) => channel.checkQueue('nowhere'), 404],
  missing_exchange: [(channel) => channel.bindQueue('nowhere', 'nowhere', ''), 404],
  reserved_name: [(channel) => channel.assertExchange('amq.mine', 'direct'), 403],
  other_arguments: [async (channel) => {
    await channel.assertQueue('interop-other', { exclusive: true });
    await channel.assertQueue('interop-other', { exclusive: true, autoDelete: true });
  }, 406],
  unknown_tag: [async (channel) => {
    const closed = event(channel, 'error');
    channel.ack({ fields: { deliveryTag: 77 } });
    throw (await closed)[0];
  }, 406],
  publish_to_nowhere: [async (channel) => {
    const closed = event(channel, 'error');
    channel.publish('nowhere', '', Buffer.from('x'));
    throw (await closed)[0];
  }, 404],
};
for (const [name, [work, code]] of Object.entries(channelErrors)) {
  checks[`channel_error_${name}`] = () =>
    using(async (channel, connection) => {
      const error = await failure(work(channel));
      equal([error.code, error.message.includes('sealgate')], [code, false], error.message);
      const next = await connection.createChannel();
      await fresh(next);
    });
}

checks.connection_error_of_a_command_not_allowed = () =>
  using(async (channel, connection) => {
    const lost = event(connection, 'error');
    channel.assertExchange('interop-odd', 'no-such-kind').catch(() => {});
    equal((await lost)[0].code, 503, 'code');
  });

checks.channels_do_not_wait_for_each_other = () =>
  using(async (one, connection) => {
    const two = await connection.createConfirmChannel();
    const queue = await fresh(one);
    for (let count = 0; count < 200; count++) {
      one.sendToQueue(queue, Buffer.alloc(20000));
      two.sendToQueue(queue, Buffer.alloc(20000));
    }
    await within(Promise.all([one.waitForConfirms(), two.waitForConfirms()]), 'both');
    equal((await one.checkQueue(queue)).messageCount, 400, 'stored');
  }, true);

checks.close_settles_what_was_published = async () => {
  await using(async (channel) => {
    await channel.assertQueue('interop-kept');
    for (let count = 0; count < 300; count++) channel.sendToQueue('interop-kept', Buffer.from('x'));
    await channel.close();
  });
  await using(async (channel) => {
    equal((await channel.deleteQueue('interop-kept')).messageCount, 300, 'stored');
  });
};

checks.unacknowledged_come_back_when_the_client_vanishes = () =>
  using(async (channel) => {
    await channel.assertQueue('interop-held');
    channel.sendToQueue('interop-held', Buffer.from('x'));
    const other = await amqp.connect(URL);
    other.on('error', () => {});
    await get(await other.createChannel(), 'interop-held');
    other.connection.stream.destroy();
    const message = await within(get(channel, 'interop-held'), 'the message');
    equal(message.fields.redelivered, true, 'redelivered');
    await channel.deleteQueue('interop-held');
  });

checks.idle_connection_is_kept_by_heartbeats = () =>
  using(async (channel) => {
    await new Promise((resolve) => setTimeout(resolve, 4000));
    await fresh(channel);
  }, false, `${URL}?heartbeat=1`);

checks.update_secret_is_answered = () =>
  using(async (_, connection) => {
    await within(connection.updateSecret(Buffer.from('new'), 'because'), 'update-secret-ok');
  });

(async () => {
  for (const [name, check] of Object.entries(checks)) {
    const started = Date.now();
    let line;
    try {
      await within(check(), name);
      line = `ok ${name}`;
    } catch (error) {
      line = `not ok ${name} # ${String(error.message).split('\n')[0]}`;
    }
    console.log(`${line} (${((Date.now() - started) / 1000).toFixed(2)}s)`);
  }
  process.exit(0);
})();
