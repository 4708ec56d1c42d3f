package engine

import (
	"bytes"
	"strings"
	"testing"
)

// Whatever arrives over SMTP, the engine answers, never with a refusal of its own fault, and certifies nothing of it that no
// provider signed.
func FuzzArrival(f *testing.F) {
	w := newWorld(f)
	f.Cleanup(func() { _ = w.engine.Close() })
	from := "bruno@" + theirs
	_, envelope := foreignEnvelope(f, from, "anna@"+ours, "q1")
	f.Add(stranger, "aperta@"+ours, []byte(letter(stranger, "aperta@"+ours, "")))
	f.Add(from, "anna@"+ours, envelope)
	f.Add("", "ricevute@"+ours, []byte("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nx: y\r\n\r\nAction: failed\r\n\r\n--b--\r\n"))
	f.Add("x", "anna@"+ours, []byte("Received: by mx.uno.test (Postfix) id AAAA; x\r\n\nFrom: a\rb\r\n\r\n.\r\n.\n"))
	f.Fuzz(func(t *testing.T, from, to string, raw []byte) {
		if strings.ContainsAny(from+to, "\r\n\x00") {
			t.Skip() // Postfix has no such address
		}
		w.queue, w.outside, w.store = nil, nil, map[string][][]byte{}
		id := w.enqueue("incoming", from, []string{to}, raw)
		q := w.queue[0]
		answer := w.engine.judgeTransaction(id, transaction{Port: portMX, From: from, Recipients: []string{fold(to)}}, raw)
		if answer != "" {
			if answer[0] != '4' && answer[0] != '5' || strings.ContainsAny(answer, "\r\n") {
				t.Fatalf("answered %q", answer)
			}
		}
		for _, handle := range []handler{w.engine.incoming, w.engine.access} {
			if answers := handle(q.mail); len(answers) != 1 {
				t.Fatalf("%d answers", len(answers))
			}
		}
		if bytes.Equal(raw, envelope) {
			return
		}
		for _, m := range w.outside {
			if kind := title(t, m.bytes); kind == "avvenuta-consegna" || kind == "presa-in-carico" {
				t.Fatalf("%s for what nobody signed", kind)
			}
		}
	})
}
