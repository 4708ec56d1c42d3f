package antispam

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// answering is a filter that says one thing; the real rspamd is asked in internal/stack.
func answering(t *testing.T, status int, say string) Filter {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, say)
	}))
	t.Cleanup(server.Close)
	return Filter{Address: strings.TrimPrefix(server.URL, "http://")}
}

func TestJudge(t *testing.T) {
	cases := map[string]struct {
		status int
		answer string
		want   Verdict
		fails  bool
	}{
		"clean":                              {200, `{"action":"no action","score":-0.1,"symbols":{"MIME_GOOD":{"score":-0.1}}}`, Verdict{Class: Clean, Score: -0.1}, false},
		"greylisting is no spam":             {200, `{"action":"greylist","score":4.5}`, Verdict{Class: Clean, Score: 4.5}, false},
		"suspect, the weightiest rule first": {200, `{"action":"add header","score":7,"symbols":{"B":{"score":1},"A":{"score":1},"C":{"score":5},"D":{"score":0},"E":{"score":-2}}}`, Verdict{Class: Suspect, Score: 7, Rules: []string{"C", "A", "B"}}, false},
		"certain":                            {200, `{"action":"reject","score":15,"symbols":{"GTUBE":{"score":0}}}`, Verdict{Class: Certain, Score: 15}, false},
		"no more than eight rules are told":  {200, `{"action":"reject","score":9,"symbols":{"A":{"score":1},"B":{"score":1},"C":{"score":1},"D":{"score":1},"E":{"score":1},"F":{"score":1},"G":{"score":1},"H":{"score":1},"I":{"score":1}}}`, Verdict{Class: Certain, Score: 9, Rules: strings.Split("ABCDEFGH", "")}, false},
		"an action that nobody knows":        {200, `{"action":"dance"}`, Verdict{}, true},
		"no action at all":                   {200, `{}`, Verdict{}, true},
		"a fault of the filter's":            {500, `{"error":"x"}`, Verdict{}, true},
		"half an answer":                     {200, `{"action":"no act`, Verdict{}, true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := answering(t, c.status, c.answer).Judge(t.Context(), []byte("Subject: x\r\n\r\nx\r\n"))
			if diff := cmp.Diff(c.want, got); diff != "" || (err != nil) != c.fails {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestPing(t *testing.T) {
	if err := answering(t, 200, "pong\r\n").Ping(t.Context()); err != nil {
		t.Error(err)
	}
	for name, f := range map[string]Filter{"another server": answering(t, 200, "hello"), "a fault": answering(t, 503, "pong"), "nobody": {Address: "127.0.0.1:1"}} {
		if f.Ping(t.Context()) == nil {
			t.Errorf("%s answers", name)
		}
	}
}
