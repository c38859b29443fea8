// Prints the token of each message in standard input, one in JSON on each line. The tests feed it the vectors:
//   node docs/signers/vectors.js
'use strict';
const {token} = require('./seal1.js');

// JSON has neither octets nor types of numbers: {"!": "bytes", "value": hex}, and amqplib's own {"!": type, "value"}.
const revive = (_, v) => (v && v['!'] === 'bytes' ? Buffer.from(v.value, 'hex') : v);

for (const line of require('node:fs').readFileSync(0, 'utf8').split('\n').filter(Boolean)) {
  const m = JSON.parse(line, revive);
  const key = {kid: m.kid, alg: m.alg, secret: m.secret};
  console.log(token(key, m, m.exchange, m.routingKey, m.body, m.options, m.created, m.expires, m.nonce));
}
