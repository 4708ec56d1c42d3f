package engine

import (
	"bytes"
	"net/textproto"
	"strings"
	"testing"

	"github.com/emersion/go-milter"

	"github.com/pec-operator/pec-operator/internal/pec"
)

// Whatever arrives over SMTP, the engine answers, never with a refusal of its own fault, and certifies nothing of it that no
// provider signed. The input goes the way that Postfix sends it: field by field to the milter, then over LMTP with Postfix' own
// trace on top. To fuzz for long, have TMPDIR on a memory disk: an execution syncs a dozen times. The first run compiles SQLite
// for the fuzzer, which takes minutes.
func FuzzArrival(f *testing.F) {
	w := newWorld(f)
	f.Cleanup(func() { _ = w.engine.Close() })
	from := "bruno@" + theirs
	_, envelope := foreignEnvelope(f, from, "anna@"+ours, "q1")
	receipt := foreignReceipt(f, "x@"+ours, sender, "")
	f.Add(stranger, "aperta@"+ours, []byte(letter(stranger, "aperta@"+ours, "")))
	f.Add(from, "anna@"+ours, envelope)
	f.Add("posta-certificata@"+theirs, sender, receipt)
	f.Add("", "ricevute@"+ours, []byte("Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nx: y\r\n\r\nAction: failed\r\n\r\n--b--\r\n"))
	f.Add("x", "anna@"+ours, []byte("Received: by mx.uno.test (Postfix) id AAAA; x\r\n\nFrom: a\rb\r\n\r\n.\r\n.\n"))
	f.Fuzz(func(t *testing.T, from, to string, raw []byte) {
		if strings.ContainsAny(from+to, "\r\n\x00") {
			t.Skip() // Postfix has no such address
		}
		w.queue, w.outside, w.store = nil, nil, map[string][][]byte{}
		id := w.enqueue("incoming", from, []string{to}, raw)
		q := w.queue[0]
		if answer := milterAnswer(t, w.engine, portMX, id, from, to, raw); answer != "" && answer[0] != '4' && answer[0] != '5' || strings.ContainsAny(answer, "\r\n") {
			t.Fatalf("answered %q", answer)
		}
		for point, handle := range map[string]handler{"incoming": w.engine.incoming, "access": w.engine.access} {
			s := &lmtpSession{point: point, log: w.engine.log, handle: handle, mail: mail{from: q.from, rcpts: q.rcpts}}
			var said statuses
			if err := s.LMTPData(bytes.NewReader(q.raw), &said); err != nil || len(said) != 1 {
				t.Fatalf("%d answers, %v", len(said), err)
			}
		}
		index, roots, err := w.engine.providers()
		if err != nil {
			t.Fatal(err)
		}
		if pec.Classify(raw, index, roots, w.now).Type == pec.TypeEnvelope {
			return
		}
		for _, m := range w.outside {
			if kind := title(t, m.bytes); kind == "avvenuta-consegna" || kind == "presa-in-carico" {
				t.Fatalf("%s for what nobody signed", kind)
			}
		}
	})
}

// statuses collects what a transaction is answered over LMTP.
type statuses []error

func (s *statuses) SetStatus(_ string, err error) { *s = append(*s, err) }

// milterAnswer hands a message to a port's milter as Postfix does, and returns its refusal.
func milterAnswer(t *testing.T, e *Engine, port, queueID, from, to string, raw []byte) string {
	t.Helper()
	s := &milterSession{engine: e, port: port}
	defer s.reset()
	m := &milter.Modifier{Macros: map[string]string{"i": queueID, "{client_addr}": "192.0.2.7"}}
	if port == portSubmission {
		m.Macros["{auth_authen}"] = from
	}
	var refusal string
	take := func(r milter.Response, err error) bool {
		if err != nil {
			t.Fatal(err)
		}
		if said := r.Response(); said.Code == 'y' {
			refusal = strings.TrimRight(string(said.Data), "\x00")
		}
		return refusal == ""
	}
	ok := take(s.MailFrom(from, m)) && take(s.RcptTo(to, m))
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	for _, line := range strings.Split(strings.NewReplacer("\r\n\t", "\n\t", "\r\n ", "\n ").Replace(head), "\r\n") {
		name, value, _ := strings.Cut(line, ":")
		ok = ok && take(s.Header(name, textproto.TrimString(value), m))
	}
	for len(body) > 0 && ok {
		n := min(len(body), 65535) // the most that Postfix sends at once
		ok = take(s.BodyChunk([]byte(body[:n]), m))
		body = body[n:]
	}
	if ok {
		take(s.Body(m))
	}
	return refusal
}
