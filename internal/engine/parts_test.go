package engine

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-milter"

	"github.com/pec-operator/pec-operator/internal/pec"
)

func TestSplitReceived(t *testing.T) {
	cases := map[string]struct{ raw, wantID string }{
		"of the submission port": {
			raw:    "Received: from [127.0.0.1] (unknown [10.99.0.1])\r\n\t(using TLSv1.3)\r\n\t(Authenticated sender: m@x.test)\r\n\tby mx.uno.test (Postfix) with ESMTPSA id 4jX5CV0zNmzmFqb\r\n\tfor <a@x.test>; Sat, 21 Nov 2026 21:38:17 +0000 (UTC)\r\n",
			wantID: "4jX5CV0zNmzmFqb",
		},
		"of a bounce that Postfix wrote":        {raw: "Received: by mx.uno.test (Postfix)\r\n\tid 4jX5D92HnzzmFs1; Sat, 21 Nov 2026 21:38:17 +0000 (UTC)\r\n", wantID: "4jX5D92HnzzmFs1"},
		"of another server":                     {raw: "Received: from x by mx.due.test (Postfix) with ESMTP id 4jX5D92HnzzmFs1; date\r\n"},
		"of ours but not on top":                {raw: "Subject: x\r\nReceived: by mx.uno.test (Postfix) id 4jX5D92HnzzmFs1; date\r\n"},
		"whose client calls itself by our name": {raw: "Received: from by?mx.uno.test??Postfix??id?AAAA (unknown [192.0.2.1])\r\n\tby mx.uno.test (Postfix) with ESMTP id 4jX5D92HnzzmFs1; date\r\n", wantID: "4jX5D92HnzzmFs1"},
		"whose recipient is called by our name": {
			raw:    "Received: from [127.0.0.1] (unknown [10.99.0.1])\r\n\tby mx.uno.test (Postfix) with ESMTPSA id 4jX5CV0zNmzmFqb\r\n\tfor <\"\\\"x by mx.uno.test (Postfix) id 4jX5D92HnzzmFs1\\\"\"@due.test>; Sat, 21 Nov 2026 21:38:17 +0000 (UTC)\r\n",
			wantID: "4jX5CV0zNmzmFqb",
		},
		"of another server, whose recipient is called by our name": {raw: "Received: from x by mx.due.test (Postfix) with ESMTP id 4jX5D92HnzzmFs1\r\n\tfor <\"x by mx.uno.test (Postfix) id AAAA\"@due.test>; date\r\n"},
		"of a message that is nothing but a field":                 {raw: "Received: by mx.uno.test (Postfix) id 4jX5D92HnzzmFs1"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			rest := "From: a@x.test\r\n\r\nbody\r\n"
			if !strings.HasSuffix(c.raw, "\r\n") {
				rest = ""
				c.wantID = "4jX5D92HnzzmFs1"
			}
			received, got, id, err := splitReceived([]byte(c.raw+rest), "MX.uno.test")
			if id != c.wantID || (err == nil) != (c.wantID != "") {
				t.Fatalf("queue identifier %q, %v, want %q", id, err, c.wantID)
			}
			if err == nil && (string(received) != c.raw || string(got) != rest) {
				t.Fatalf("cut into %q and %q", received, got)
			}
		})
	}
}

func TestMilterRecordsTheTransactionWithItsFoldedRecipients(t *testing.T) {
	w := newWorld(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := w.engine.newMilter(portMX)
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	from := "bruno@" + theirs
	_, raw := foreignEnvelope(t, from, "anna@"+ours, "q1")
	client := milter.NewClientWithOptions("tcp", l.Addr().String(), milter.ClientOptions{Dialer: &net.Dialer{}})
	defer client.Close()
	session, err := client.Session()
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	for _, queueID := range []string{"4jX5CV0001zmF", "4jX5CV0002zmF"} { // two messages of one connection
		action := milterMessage(t, session, from, []string{"Anna@" + ours, "anna@" + ours}, raw, queueID)
		if action.Code != milter.ActContinue {
			t.Fatalf("the milter answered %v", action)
		}
		var tx transaction
		if found, err := w.engine.lookup(kindTransaction, queueID, &tx); !found || err != nil {
			t.Fatalf("record of %s: %v, %v", queueID, found, err)
		}
		if len(tx.Recipients) != 1 || tx.Recipients[0] != "anna@"+ours || tx.Client != "192.0.2.7" || tx.Type != pec.TypeEnvelope {
			t.Fatalf("recorded %+v", tx)
		}
	}
}

func milterMessage(t *testing.T, s *milter.ClientSession, from string, rcpts []string, raw []byte, queueID string) *milter.Action {
	t.Helper()
	action, err := tellMilter(s, "", from, rcpts, raw, queueID)
	if err != nil {
		t.Fatal(err)
	}
	return action
}

// tellMilter shows a milter one message, as Postfix does, and is what it answers at the end.
func tellMilter(s *milter.ClientSession, user, from string, rcpts []string, raw []byte, queueID string) (*milter.Action, error) {
	var failed error
	tell := func(_ *milter.Action, err error) { failed = errors.Join(failed, err) }
	tell(s.Mail(from, nil))
	for _, rcpt := range rcpts {
		tell(s.Rcpt(rcpt, nil))
	}
	head, body, _ := strings.Cut(string(raw), "\r\n\r\n")
	for _, line := range strings.Split(strings.NewReplacer("\r\n\t", "\n\t", "\r\n ", "\n ").Replace(head), "\r\n") {
		name, value, _ := strings.Cut(line, ": ")
		tell(s.HeaderField(name, value))
	}
	tell(s.HeaderEnd())
	tell(s.BodyChunk([]byte(body)))
	if err := errors.Join(failed, s.Macros(milter.CodeEOB, "i", queueID, "{client_addr}", "192.0.2.7", "{auth_authen}", user)); err != nil {
		return nil, err
	}
	_, action, err := s.End()
	return action, err
}

func TestReloadingKeepsTheLastGoodValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	r := newReloading(parseLine, path)
	if _, err := r.Get(); err == nil {
		t.Fatal("a missing file gave no error")
	}
	at := time.Now()
	for _, step := range []struct{ content, want string }{{"first\n", "first"}, {"second\n", "second"}, {"", "second"}, {"third\n", "third"}} {
		if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Second)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		if got, err := r.Get(); got != step.want || (err != nil) != (step.content == "") {
			t.Fatalf("after writing %q: %q, %v", step.content, got, err)
		}
	}
}

func TestRelayOutlivesAnIdleConnectionThatWasClosed(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		if _, err := w.engine.postfix.send(message{from: sender, to: "x@ordinaria.test", bytes: []byte("Subject: x\r\n\r\n")}, nil); err != nil {
			t.Fatal(err)
		}
		client := <-w.engine.postfix.idle
		_ = client.Close()
		w.engine.postfix.idle <- client
	}
	if len(w.outside) != 3 {
		t.Fatalf("%d messages arrived, want 3", len(w.outside))
	}
}

func TestDoveadmAnswers(t *testing.T) {
	cases := map[string]struct {
		answer  string
		wantErr string
	}{
		"done":                 {answer: `[["doveadmResponse",[{"count":"1"}],"1"]]`},
		"the mailbox changed":  {answer: `[["error",{"type":"exitCode","exitCode":2},"1"]]`, wantErr: "run again"},
		"an unknown command":   {answer: `[["error",{"type":"unknownMethod","exitCode":0},"1"]]`, wantErr: "unknownMethod"},
		"not one answer":       {answer: `[]`, wantErr: "not one answer"},
		"not the API's answer": {answer: `<html>`, wantErr: "invalid character"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := readAnswer("sync", strings.NewReader(c.answer), nil)
			if (err != nil) != (c.wantErr != "") || err != nil && !strings.Contains(err.Error(), c.wantErr) {
				t.Fatalf("got %v, want %q", err, c.wantErr)
			}
		})
	}
}

func TestParseReportReadsOnlyFailures(t *testing.T) {
	raw := "Content-Type: multipart/report; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n" +
		"Reporting-MTA: dns; x\r\nOriginal-Envelope-Id: id@x.test\r\n\r\n" +
		"Final-Recipient: rfc822; Uno@x.test\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n    unknown\r\n\r\n" +
		"Final-Recipient: rfc822; due@x.test\r\nAction: delayed\r\nStatus: 4.4.1\r\n\r\n--b--\r\n"
	r, err := parseReport([]byte(raw))
	if err != nil || r.envelopeID != "id@x.test" || len(r.failures) != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	if f := r.failures[0]; f.Recipient != "uno@x.test" || f.Status != "5.1.1" || f.Text != "550 5.1.1 unknown" || f.kind() != pec.ErrorNoRecipient {
		t.Fatalf("got %+v", f)
	}
	if _, err := parseReport([]byte("Subject: x\r\n\r\nbody\r\n")); !errors.Is(err, errNoReport) {
		t.Fatalf("an ordinary message: %v", err)
	}
}

func TestDecodeStrict(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		taken bool
	}{
		"one value":                {text: `{"name":"a"}` + "\n", taken: true},
		"a field that is misspelt": {text: `{"nane":"a"}`},
		"two values":               {text: `{"name":"a"}{"name":"b"}`},
		"what is cut":              {text: `{"name":"a"`},
		"nothing":                  {},
		"what is not UTF-8":        {text: "{\"name\":\"\xe0\"}"},
	} {
		got, err := decodeStrict[struct{ Name string }](strings.NewReader(c.text))
		if (err == nil) != c.taken || c.taken && got.Name != "a" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}
