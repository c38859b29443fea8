// seal1 (docs/spec.md) by Go's standard library alone. What is too large, too deep or no finite number is left to the
// gateway to refuse. With amqp091-go, put the result of Seal into Publishing.Headers["x-seal"], last of all.
package main

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"strings"
)

type Timestamp uint64 // a time.Time in Unix seconds
type Decimal struct{ Scale, Unscaled uint32 }

// Message has the octets of each property by AMQP index: 0 content type, 1 content encoding, 3 delivery mode, 4 priority,
// 5 correlation id, 6 reply to, 7 expiration, 8 message id, 9 timestamp, 10 type, 11 user id, 12 app id, 13 cluster id.
type Message struct {
	Exchange, RoutingKey string
	Properties           map[byte]string
	Headers              map[string]any // integers as int64; text that is no UTF-8 as []byte
	Body                 []byte
}

const uncovered = " x-seal x-countersign x-death x-first-death-exchange x-first-death-queue x-first-death-reason" +
	" x-last-death-exchange x-last-death-queue x-last-death-reason x-delivery-count x-acquired-count x-received-from" +
	" x-shovelled x-shovelled-timestamp x-routed-by timestamp_in_ms x-opt-rabbitmq-received-time" +
	" x-opt-rabbitmq-sent-time x-stream-offset x-mqtt-publish-qos x-opt-mqtt-client-id "

var b64 = base64.RawURLEncoding.EncodeToString

func u32(n int) string                { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }
func u64(n uint64) string             { return string(binary.BigEndian.AppendUint64(nil, n)) }
func lp(s string) string              { return u32(len(s)) + s }
func short(tag byte, s string) string { return string([]byte{tag, byte(len(s))}) + s }
func digest(s string) string          { sum := sha256.Sum256([]byte(s)); return string(sum[:]) }
func value(v any) string {
	switch v := v.(type) {
	case nil:
		return "V"
	case bool:
		return map[bool]string{false: "t\x00", true: "t\x01"}[v]
	case int64:
		return "i" + u64(uint64(v))
	case float64:
		return "d" + u64(math.Float64bits(v))
	case Decimal:
		return "D" + string([]byte{byte(v.Scale)}) + u32(int(v.Unscaled))
	case Timestamp:
		return "T" + u64(uint64(v))
	case string:
		return "s" + lp(v)
	case []byte:
		return "x" + lp(string(v))
	case []any:
		parts := "A" + u32(len(v))
		for _, inner := range v {
			parts += value(inner)
		}
		return parts
	case map[string]any:
		return "F" + table(v, "")
	}
	panic(fmt.Sprintf("seal1: no AMQP type for %T", v))
}
func table(headers map[string]any, without string) string {
	names, parts := []string{}, ""
	for name := range headers {
		if !strings.Contains(without, " "+name+" ") {
			names = append(names, name)
		}
	}
	sort.Strings(names) // by their octets
	for _, name := range names {
		v := headers[name]
		if n, whole := v.(int64); whole && name == "x-delay" && without != "" && n < 0 {
			v = -n // a delivered message has it negative
		}
		parts += lp(name) + value(v)
	}
	return u32(len(names)) + parts
}

// Seal is the value of x-seal. Times are Unix seconds; a nonce is 16 random octets, or the challenge and a number.
func Seal(kid, alg, secret, deployment, vhost string, m Message, created, expires int64, nonce []byte) string {
	snapshot, p := short(1, m.Exchange)+short(2, m.RoutingKey), ""
	for index := byte(0); index < 14; index++ {
		v, there := m.Properties[index]
		if direct := "amq.rabbitmq.reply-to"; index == 6 && strings.HasPrefix(v, direct) {
			v = direct
		}
		if tag := map[byte]byte{7: 3, 9: 4}[index]; there && tag > 0 {
			snapshot += short(tag, v)
		} else if there {
			p += string([]byte{index}) + lp(v)
		}
	}
	prefix := fmt.Sprintf("seal1.%s.%d.%d.%s.c1.%s", kid, created, expires, b64(nonce), b64([]byte(snapshot)))
	input := "seal1/amqp-0-9-1/message\n" + lp(alg) + lp(deployment) + lp(vhost) + lp(prefix) + digest(p) +
		digest(table(m.Headers, uncovered)) + u64(uint64(len(m.Body))) + digest(string(m.Body))
	if alg == "ed25519" {
		return prefix + "." + b64(ed25519.Sign(ed25519.NewKeyFromSeed([]byte(secret)), []byte(input)))
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(input))
	return prefix + "." + b64(mac.Sum(nil))
}
