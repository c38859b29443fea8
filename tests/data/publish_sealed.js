// Publishes sealed messages and one unsealed one by amqplib, and prints what became of each:
//   node publish_sealed.js SIGNER URL VHOST SECRET
'use strict';
const amqplib = require('amqplib');

const [signer, url, vhost, secret] = process.argv.slice(2);
const {seal} = require(signer);

const headers = {
  text: 'é', n: 1, big: 2 ** 52, half: 1.5, negative: -70000, none: null, yes: true, absent: undefined,
  many: [1, 'two', {deep: [[]]}], octets: Buffer.from([255, 0]), when: {'!': 'timestamp', value: 5},
  price: {'!': 'decimal', value: {places: 2, digits: 1250}}, single: {'!': 'float', value: 1.1}, 'x-seal': 'old',
};
const full = {
  headers, persistent: true, contentType: 'application/json', priority: 3, expiration: 60000, timestamp: 1767225600,
  messageId: 'm', type: 'order', replyTo: 'back', correlationId: 'c', appId: 'js',
};

(async () => {
  const key = {kid: 'js', alg: 'hmac-sha256', secret: Buffer.from(secret, 'hex')};
  const connection = await amqplib.connect(url);
  const channel = await connection.createConfirmChannel();
  await channel.assertQueue('orders');
  const body = Buffer.from('{"order": 1}');
  const publish = (options) => new Promise((done) => {
    channel.publish('', 'orders', body, options, (error) => { console.log(error ? 'refused' : 'confirmed'); done(); });
  });
  for (const options of [full, {}, {headers: {}}]) {
    await publish(seal(key, {deployment: 'prod', vhost}, '', 'orders', body, options));
  }
  await publish({});
  await connection.close();
})();
