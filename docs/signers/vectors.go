// Prints the token of each message in standard input, one in JSON on each line. The tests feed it the vectors:
//
//	go run docs/signers/seal1.go docs/signers/vectors.go
package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
)

var names = []string{"contentType", "contentEncoding", "", "deliveryMode", "priority", "correlationId", "replyTo",
	"expiration", "messageId", "timestamp", "type", "userId", "appId", "clusterId"}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// JSON has neither octets nor types of numbers: {"!": type, "value": ...} says what is meant.
func typed(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = typed(v[i])
		}
	case map[string]any:
		text, _ := v["value"].(string)
		switch v["!"] {
		case "bytes":
			octets, err := hex.DecodeString(text)
			check(err)
			return octets
		case "long":
			n, err := strconv.ParseInt(text, 10, 64)
			check(err)
			return n
		case "timestamp":
			n, err := strconv.ParseUint(text, 10, 64)
			check(err)
			return Timestamp(n)
		case "double":
			return v["value"]
		case "decimal":
			d := v["value"].(map[string]any)
			return Decimal{uint32(d["places"].(float64)), uint32(d["digits"].(float64))}
		}
		for name := range v {
			v[name] = typed(v[name])
		}
	}
	return v
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var m map[string]any
		check(json.Unmarshal(lines.Bytes(), &m))
		text := func(name string) string { return m[name].(string) }
		octets := func(name string) []byte { return typed(m[name]).([]byte) }
		options := m["options"].(map[string]any)
		headers, _ := options["headers"].(map[string]any)
		if headers == nil {
			headers = map[string]any{}
		}
		properties := map[byte]string{}
		for index, name := range names {
			switch v := options[name].(type) {
			case string:
				properties[byte(index)] = v
			case float64:
				properties[byte(index)] = string([]byte{byte(v)})
				if name == "timestamp" {
					properties[byte(index)] = u64(uint64(v))
				}
			}
		}
		message := Message{text("exchange"), text("routingKey"), properties, typed(headers).(map[string]any), octets("body")}
		fmt.Println(Seal(text("kid"), text("alg"), string(octets("secret")), text("deployment"), text("vhost"), message,
			int64(m["created"].(float64)), int64(m["expires"].(float64)), octets("nonce")))
	}
}
