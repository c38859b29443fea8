// seal1 (docs/spec.md) for amqplib, by Node's standard library alone:
//   channel.publish(exchange, routingKey, body, seal(key, place, exchange, routingKey, body, options))
// key is {kid, alg, secret: Buffer}, place {deployment, vhost}, options are amqplib's; a result is for one publish.
// What is too large or too deep is left to the gateway to refuse.
'use strict';
const crypto = require('node:crypto');

const UNCOVERED = new Set(('x-seal x-countersign x-death x-first-death-exchange x-first-death-queue ' +
  'x-first-death-reason x-last-death-exchange x-last-death-queue x-last-death-reason x-delivery-count ' +
  'x-acquired-count x-received-from x-shovelled x-shovelled-timestamp x-routed-by timestamp_in_ms ' +
  'x-opt-rabbitmq-received-time x-opt-rabbitmq-sent-time x-stream-offset x-mqtt-publish-qos x-opt-mqtt-client-id').split(' '));
// Section P by AMQP index.
const PROPERTIES = {0: 'contentType', 1: 'contentEncoding', 3: 'deliveryMode', 4: 'priority', 5: 'correlationId',
  6: 'replyTo', 8: 'messageId', 10: 'type', 11: 'userId', 12: 'appId', 13: 'clusterId'};
const DIRECT_REPLY_TO = 'amq.rabbitmq.reply-to';

const sha256 = (data) => crypto.createHash('sha256').update(data).digest();
const fixed = (bytes, write, n) => { const b = Buffer.alloc(bytes); b[write](n); return b; };
const u32 = (n) => fixed(4, 'writeUInt32BE', n);
const u64 = (n) => fixed(8, 'writeBigUInt64BE', BigInt(n));
const lp = (data) => Buffer.concat([u32(Buffer.from(data).length), Buffer.from(data)]);
const tagged = (tag, ...parts) => Buffer.concat([Buffer.from(tag), ...parts]);
const short = (tag, data) => tagged(fixed(2, 'writeUInt16BE', tag << 8 | Buffer.from(data).length), Buffer.from(data));
const covered = (headers) => Object.entries(headers || {}).filter(([name]) => !UNCOVERED.has(name));
const absolute = ([name, v]) => [name, name === 'x-delay' && (v?.value ?? v) < 0 ? {'!': 'long', value: -(v.value ?? v)} : v];

// The canonical form of a value, of the type that amqplib writes it as: {'!': type, value} is its way to choose one.
function value(v) {
  if (v === null) return tagged('V');
  if (typeof v === 'boolean') return tagged('t', Buffer.from([Number(v)]));
  if (typeof v === 'string') return tagged('s', lp(v));
  if (typeof v === 'number') {
    const fraction = Math.abs(v) < 2 ** 50 && Math.floor(v) !== v;
    return value({'!': fraction || v >= 2 ** 63 ? 'double' : 'long', value: v});
  }
  if (Buffer.isBuffer(v)) return tagged('x', lp(v));
  if (Array.isArray(v)) return tagged('A', u32(v.length), ...v.map(value));
  switch (v['!']) {
    case undefined: return tagged('F', table(Object.entries(v)));
    case 'double': case 'float64': return tagged('d', fixed(8, 'writeDoubleBE', v.value));
    case 'float': return tagged('d', fixed(8, 'writeDoubleBE', Math.fround(v.value)));
    case 'timestamp': return tagged('T', u64(v.value));
    case 'decimal': return tagged('D', Buffer.from([v.value.places]), u32(v.value.digits));
    default: return tagged('i', fixed(8, 'writeBigInt64BE', BigInt(v.value)));
  }
}

function table(entries) {
  const given = entries.filter(([, v]) => v !== undefined).map(([name, v]) => [Buffer.from(name), v]);
  given.sort(([a], [b]) => Buffer.compare(a, b));
  return Buffer.concat([u32(given.length), ...given.flatMap(([name, v]) => [lp(name), value(v)])]);
}

function sectionP(options) {
  const there = Object.entries(PROPERTIES).filter(([, name]) => options[name] !== undefined);
  return Buffer.concat(there.flatMap(([index, name]) => {
    const v = options[name];
    const direct = name === 'replyTo' && v.startsWith(DIRECT_REPLY_TO);
    return [Buffer.from([index]), lp(direct ? DIRECT_REPLY_TO : typeof v === 'number' ? [v] : v)];
  }));
}

// The value of x-seal. Times are Unix seconds; a nonce is 16 random octets, or the challenge and a number.
function token(key, place, exchange, routingKey, body, options, created, expires, nonce) {
  const snapshot = [short(1, exchange), short(2, routingKey)];
  if (options.expiration !== undefined) snapshot.push(short(3, String(options.expiration)));
  if (options.timestamp !== undefined) snapshot.push(short(4, u64(options.timestamp)));
  const prefix = ['seal1', key.kid, created, expires, nonce.toString('base64url'), 'c1',
    Buffer.concat(snapshot).toString('base64url')].join('.');
  const input = Buffer.concat([Buffer.from('seal1/amqp-0-9-1/message\n'), lp(key.alg), lp(place.deployment),
    lp(place.vhost), lp(prefix), sha256(sectionP(options)), sha256(table(covered(options.headers).map(absolute))),
    u64(body.length), sha256(body)]);
  if (key.alg !== 'ed25519') {
    return prefix + '.' + crypto.createHmac('sha256', key.secret).update(input).digest('base64url');
  }
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), key.secret]);
  const seed = crypto.createPrivateKey({format: 'der', type: 'pkcs8', key: der});
  return prefix + '.' + crypto.sign(null, input, seed).toString('base64url');
}

// The options to publish with. A message that is to wait for more than a day wants a longer life.
function seal(key, place, exchange, routingKey, body, options = {}, lifetimeS = 86400) {
  const given = {...options, headers: Object.fromEntries(covered(options.headers))};
  if (given.persistent !== undefined) given.deliveryMode = given.persistent ? 2 : 1; // as amqplib has it
  delete given.persistent;
  const now = Math.floor(Date.now() / 1000);
  const end = now + Math.max(1, Math.min(lifetimeS, Math.ceil(Number(given.expiration ?? Infinity) / 1000)));
  given.headers['x-seal'] = token(key, place, exchange, routingKey, body, given, now, end, crypto.randomBytes(16));
  return given;
}

module.exports = {seal, token};
