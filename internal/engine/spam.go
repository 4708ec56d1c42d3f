package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/antispam"
	"github.com/pec-operator/pec-operator/internal/pec"
)

// Certified mail is never shown to the filter, whatever it carries: its sender was told that it will be delivered.

// maxJudged is the largest message that the filter is asked about, in bytes; spam is small, and the filter's memory too.
const maxJudged = 2 << 20

// spam is what the filter holds against a message, as the transaction's record has it: the verdict is given once, at the end of DATA.
type spam struct {
	Score float64  `json:"score"`
	Rules []string `json:"rules,omitempty"`
}

// fields are what marks the message for its reader, above the envelope and outside what is signed, like the trace beside them.
func (s *spam) fields() []byte {
	if s == nil {
		return nil
	}
	rules := make([]string, len(s.Rules))
	for i, r := range s.Rules {
		rules[i] = printable(r)
	}
	return fmt.Appendf(nil, "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=%.1f\r\n\ttests=%s\r\n", s.Score, strings.Join(rules, ",\r\n\t"))
}

// junkOf is the address of a mailbox's folder for suspect mail, as Dovecot's LMTP takes it. No local part has a plus.
func junkOf(rcpt string) string {
	at := strings.LastIndexByte(rcpt, '@')
	return rcpt[:at] + "+" + antispam.Folder + rcpt[at:]
}

// refusesSpam says whether a message is refused for all its recipients, who have one answer. Certain spam is refused, and so is
// suspect mail that would be forwarded: other servers would hold the provider's own address to account for it. What one recipient
// takes is taken, and marked for the others. Pure.
func refusesSpam(class antispam.Class, recipients []recipient) bool {
	return class != antispam.Clean && !slices.ContainsFunc(recipients, func(r recipient) bool {
		return !r.wantsJudged() || class != antispam.Certain && r.policy() != admin.OrdinaryForward
	})
}

// judgeSpam asks the filter about ordinary mail, if a recipient wants it; what is taken nonetheless is marked in the transaction. A
// filter that cannot answer keeps nothing out: it only files, and mail that waited for it would be the greater loss.
func (e *Engine) judgeSpam(tx *transaction, raw []byte, recipients []recipient) (answer string) {
	if e.settings.Rspamd == "" || tx.Type != pec.TypeOrdinary || !slices.ContainsFunc(recipients, recipient.wantsJudged) {
		return ""
	}
	v := e.askFilter(raw)
	if refusesSpam(v.Class, recipients) {
		return answerSpam
	}
	if v.Class != antispam.Clean {
		tx.Spam = &spam{Score: v.Score, Rules: v.Rules}
	}
	return ""
}

// askFilter counts what the filter says; without an answer the message counts as clean.
func (e *Engine) askFilter(raw []byte) antispam.Verdict {
	unjudged := antispam.Verdict{Class: antispam.Clean}
	if len(raw) > maxJudged {
		e.metrics.spam.WithLabelValues("too large").Inc()
		return unjudged
	}
	v, err := e.filter().Judge(context.Background(), raw)
	if err != nil {
		e.log.Warn("ordinary mail is taken unjudged", "error", err)
		e.metrics.spam.WithLabelValues("failed").Inc()
		return unjudged
	}
	e.metrics.spam.WithLabelValues(string(v.Class)).Inc()
	return v
}

func (e *Engine) filter() antispam.Filter { return antispam.Filter{Address: e.settings.Rspamd} }

// filterProblem is what the operator is told of a filter that does not answer; the sentence stays the same, because it stands in a status.
func (e *Engine) filterProblem(ctx context.Context) string {
	if e.settings.Rspamd == "" || e.filter().Ping(ctx) == nil {
		return ""
	}
	return "the spam filter does not answer: ordinary mail is delivered unjudged"
}
