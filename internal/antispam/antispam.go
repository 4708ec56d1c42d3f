// Package antispam asks an rspamd of the pod what it makes of a message.
package antispam

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Filter is an rspamd that listens on loopback.
type Filter struct{ Address string } // host:port

// Class is how sure the filter is.
type Class string

// The classes. What is suspect may be wanted after all; what is certain is so by far.
const (
	Clean   Class = "clean"
	Suspect Class = "suspect"
	Certain Class = "certain"
)

// Verdict is what the filter makes of a message.
type Verdict struct {
	Class Class
	Score float64
	Rules []string // that matched against it, the weightiest first
}

// Folder is where suspect mail is delivered.
const Folder = "Junk"

const (
	// judgeTimeout is longer than rspamd's own limit for one message, which ends with an answer.
	judgeTimeout = 10 * time.Second
	pingTimeout  = 2 * time.Second
	answerLimit  = 1 << 20
	// maxRules bounds what is told of a verdict.
	maxRules = 8
)

// answer is rspamd's, as far as it is read.
type answer struct {
	Action  string  `json:"action"`
	Score   float64 `json:"score"`
	Symbols map[string]struct {
		Score float64 `json:"score"`
	} `json:"symbols"`
}

// Judge gives the filter a message, and nothing about who sent it to whom: every rule that it runs reads the message alone.
func (f Filter) Judge(ctx context.Context, raw []byte) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, judgeTimeout)
	defer cancel()
	said, err := f.ask(ctx, http.MethodPost, "/checkv2", raw)
	if err != nil {
		return Verdict{}, fmt.Errorf("judging whether it is spam: %w", err)
	}
	var a answer
	if err := json.Unmarshal(said, &a); err != nil {
		return Verdict{}, fmt.Errorf("judging whether it is spam: reading rspamd's answer: %w", err)
	}
	v, err := verdictOf(a)
	if err != nil {
		return Verdict{}, fmt.Errorf("judging whether it is spam: %w", err)
	}
	return v, nil
}

// verdictOf is what an answer means. Greylisting and soft rejection say that a second try should be awaited, not that it is spam. Pure.
func verdictOf(a answer) (Verdict, error) {
	v := Verdict{Score: a.Score}
	switch a.Action {
	case "no action", "greylist", "soft reject":
		v.Class = Clean
	case "add header", "rewrite subject", "quarantine":
		v.Class = Suspect
	case "reject", "discard":
		v.Class = Certain
	default:
		return v, fmt.Errorf("rspamd answered the action %q", a.Action)
	}
	for name, s := range a.Symbols {
		if s.Score > 0 {
			v.Rules = append(v.Rules, name)
		}
	}
	slices.SortFunc(v.Rules, func(x, y string) int {
		return cmp.Or(cmp.Compare(a.Symbols[y].Score, a.Symbols[x].Score), cmp.Compare(x, y))
	})
	v.Rules = v.Rules[:min(maxRules, len(v.Rules))]
	return v, nil
}

// Ping says whether the filter answers.
func (f Filter) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	said, err := f.ask(ctx, http.MethodGet, "/ping", nil)
	if err == nil && strings.TrimSpace(string(said)) != "pong" {
		err = errors.New("it answered something else")
	}
	if err != nil {
		return fmt.Errorf("asking rspamd whether it is there: %w", err)
	}
	return nil
}

func (f Filter) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+f.Address+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("rspamd answered %s", response.Status)
	}
	return said, err
}
