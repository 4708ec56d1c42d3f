package pecdomain

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// Bounds of the schema.
const (
	maxRecords  = 16
	maxViews    = 12
	maxSentence = 384
	maxRequest  = 2560
	maxNote     = 192
	maxSet      = 256
	maxOwner    = 256
)

// showDNS puts what is known into the status. Times and serials move only when something else does: a round that found what the last
// one found writes nothing.
func (s *scope) showDNS(o outlook, t target, m *memory) {
	old := s.domain.Status.DNS
	if old == nil {
		old = &v1alpha1.DNSStatus{}
	}
	status := &v1alpha1.DNSStatus{
		State: v1alpha1.DNSState(m.settled.State), Since: ptr.To(metav1.NewTime(m.since.Truncate(time.Second))), Message: reconcile.Cut(o.verdict.Sentence, maxSentence),
		Zone: printable(o.verdict.Zone, 255), Current: texts(o.verdict.Seen.MX), Previous: old.Previous, Observed: views(m.last.seen), CutOver: s.cut,
		CurrentNotShown: notShown(len(o.verdict.Seen.MX), maxRecords), PreviousNotShown: old.PreviousNotShown, ObservedNotShown: notShown(len(m.last.seen.Views), maxViews),
		Checks: checksOf(m.last.checks, o.otherSite),
	}
	if m.settled.Unknown {
		status.Message = reconcile.Cut(m.settled.Sentence, maxSentence)
	}
	if t.want.Owner != (dns.Owner{}) {
		status.Epoch = ptr.To(int64(t.want.Owner.Epoch)) //nolint:gosec // an epoch counts take-overs
	}
	if c := m.last.wrote; c != nil && m.last.err == nil {
		status.Previous, status.PreviousNotShown = texts(c.Was.MX), notShown(len(c.Was.MX), maxRecords)
	}
	if s.judged.ask {
		status.RecordRequest = requestOf(o, t, m.since)
	}
	if sameViews(old.Observed, status.Observed) {
		status.Observed = old.Observed
	}
	if old.Since != nil && old.State == status.State {
		status.Since = old.Since
	}
	s.domain.Status.DNS = status
}

// requestOf words the request or the warning. It speaks of the moment when the state was first seen, so that it stays the same text.
func requestOf(o outlook, t target, since time.Time) *v1alpha1.RecordRequest {
	v := o.verdict
	v.At = since
	text := dns.Request(dns.Ask{Verdict: v, Want: o.want, Takeover: o.takeover, Deadline: calendar.InRome(o.deadline), Contact: t.contact})
	if text.English == "" {
		return nil
	}
	return &v1alpha1.RecordRequest{
		Italian:  cutLines(text.Italian, maxRequest, "INCOMPLETA, non eseguire: mancano %d righe"),
		English:  cutLines(text.English, maxRequest, "INCOMPLETE, do not act on it: %d lines are missing"),
		Deadline: metav1.NewTime(o.deadline.Truncate(time.Second)),
	}
}

// notShown counts what a list of the status has no room for; nil is nothing.
func notShown(all, room int) *int32 {
	if all <= room {
		return nil
	}
	return ptr.To(int32(all - room)) //nolint:gosec // a DNS answer has at most thousands
}

// texts is a set as the status holds it.
func texts(set dns.Set) []string {
	var out []string
	for _, mx := range set {
		if len(out) < maxRecords {
			out = append(out, printable(mx.String(), 262))
		}
	}
	return out
}

func views(seen dns.Observation) []v1alpha1.DNSServerView {
	var out []v1alpha1.DNSServerView
	for _, v := range seen.Views {
		if len(out) == maxViews {
			break
		}
		view := v1alpha1.DNSServerView{Server: printable(v.Server, 255), Address: v.Address, Fault: string(v.Fault)}
		if v.Fault == "" {
			view.MX, view.Owner = printable(v.MX.String(), maxSet), printable(strings.Join(v.Owner, " and "), maxOwner)
			view.Serial, view.TTL = ptr.To(int64(v.Serial)), ptr.To(int64(v.TTL))
		}
		out = append(out, view)
	}
	return out
}

// sameViews compares what servers said, but for the serial, which any change of their zone moves.
func sameViews(a, b []v1alpha1.DNSServerView) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		one, other := a[i], b[i]
		one.Serial, other.Serial = nil, nil
		if !equality.Semantic.DeepEqual(one, other) {
			return false
		}
	}
	return true
}

func checksOf(checks []dns.Check, otherSite string) []v1alpha1.DNSCheck {
	var out []v1alpha1.DNSCheck
	for _, c := range checks {
		out = append(out, v1alpha1.DNSCheck{Name: c.Name, Result: string(c.Result), Message: reconcile.Cut(c.Message, maxNote)})
	}
	if otherSite != "" {
		out = append(out, v1alpha1.DNSCheck{Name: "OtherSite", Result: string(dns.Faulty), Message: reconcile.Cut(otherSite, maxNote)})
	}
	return out
}

func cutOverStatus(c dns.Cutover, step dns.Step) *v1alpha1.CutOverStatus {
	status := &v1alpha1.CutOverStatus{Phase: string(c.Phase), Since: metav1.NewTime(c.Since.Truncate(time.Second)), Message: reconcile.Cut(step.Sentence, maxNote)}
	if !step.Until.IsZero() {
		status.Until = ptr.To(metav1.NewTime(step.Until.Truncate(time.Second)))
	}
	if !c.OldHostsUntil.IsZero() {
		status.OldHostsUntil = ptr.To(metav1.NewTime(c.OldHostsUntil.Truncate(time.Second)))
	}
	return status
}

func timeOf(t *metav1.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}

// printable keeps what a stranger's record holds within what the schema accepts.
func printable(text string, limit int) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return reconcile.Cut(clean, limit)
}

// cutLines shortens a text to a number of characters between lines, and says first how many are missing: half a record could be
// pasted, and so could half a set.
func cutLines(text string, limit int, missing string) string {
	if utf8.RuneCountInString(text) <= limit {
		return text
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	for kept := len(lines) - 1; ; kept-- {
		shown := fmt.Sprintf(missing, len(lines)-kept) + "\n" + strings.Join(lines[:kept], "")
		if utf8.RuneCountInString(shown) <= limit || kept == 0 {
			return shown
		}
	}
}
