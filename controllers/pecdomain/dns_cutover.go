package pecdomain

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/dns"
)

// cutOver moves an approved change of provider on, and lets its phase decide what is written.
func (s *scope) cutOver(ctx context.Context, o outlook) error {
	if o.mode != dns.UpdateMode || len(o.takeover.Expected) == 0 || !o.role.Acts || o.trouble.reason != "" || o.settled.Unknown {
		return nil
	}
	pages, _, err := s.DNS.Ledger.read(ctx)
	if err != nil {
		return err
	}
	known := pages[pageOf(o.verdict.Domain)].CutOver
	begins := s.judged.do != nil && s.judged.do.Kind == dns.TakingOver
	switch isDone := known != nil && known.Phase == dns.Done; {
	case isDone && begins:
		known = nil // another change of provider
	case isDone:
		s.cut = cutOverStatus(*known, dns.Step{Sentence: "the change of provider is done"})
		return nil
	case known == nil && !begins:
		return nil
	}
	var cut dns.Cutover
	if known != nil {
		cut = *known
	}
	cut, step := advance(cut, dns.Moment{Now: s.Now, Verdict: o.verdict, Want: o.want, Takeover: o.takeover, WindowOpen: true, Agreed: s.agreed(o), Interval: s.DNS.pace().Confirm})
	if known == nil || *known != cut {
		if err := s.DNS.Ledger.keep(ctx, o.verdict.Domain, &cut, s.Now); err != nil {
			return err
		}
	}
	s.cut, s.judged = cutOverStatus(cut, step), o.during(s.judged, cut, step)
	return nil
}

// advance takes every phase that asks for nothing, and answers the one that does and what it asks for. Pure.
func advance(cut dns.Cutover, m dns.Moment) (dns.Cutover, dns.Step) {
	next, step := cut.Next(m)
	for next.Phase != cut.Phase && step.Do == nil {
		cut = next
		next, step = cut.Next(m)
	}
	return next, step
}

// during is the judgement while a cut-over is under way. Pure.
func (o outlook) during(j judgement, cut dns.Cutover, step dns.Step) judgement {
	if o.verdict.State != dns.Ours {
		j = judgement{status: metav1.ConditionFalse, reason: v1alpha1.ReasonCutOver, course: courseWaits,
			message: "change of provider, phase " + string(cut.Phase) + ": " + step.Sentence}
	}
	j.do = step.Do
	if step.Do != nil && o.unfit != "" && o.verdict.State != dns.Ours {
		j.do, j.message = nil, "change of provider, phase "+string(cut.Phase)+": it waits for the mail hosts; "+o.unfit
	}
	return j
}

// agreed says that an old MX may be taken away: there is one site only, or both hold the same spec and see the same records now.
func (s *scope) agreed(o outlook) bool {
	if !s.Peer.State().Configured {
		return true
	}
	return o.role.InTouch && s.peer != nil && specHash(s.peer) == specHash(s.domain) && o.otherSite == "" && s.peer.Status.DNS != nil &&
		slices.Equal(s.peer.Status.DNS.Current, texts(o.verdict.Seen.MX))
}
