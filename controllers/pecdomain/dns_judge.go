package pecdomain

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/peer"
)

// requestTime is how long who runs a zone has for what is asked of him.
const requestTime = 14 * 24 * time.Hour

// epochOf is the epoch in which this site judges and writes. own is the one that it last knew to be in force, seen that of the owner
// text. A site that writes alone and finds a later epoch than it knew has been stood in for, and must stop; in touch with the other
// one, or as the one who watches, it follows what it sees. Pure.
func epochOf(r peer.Role, own, seen uint64) uint64 {
	if r.Acts && !r.InTouch && !r.Deputy && own > 0 {
		return own
	}
	return max(own, seen, 1)
}

// outlook is everything that the judgement of a domain's records rests on.
type outlook struct {
	want     dns.Desired
	verdict  dns.Verdict // of the last round
	settled  dns.Settled
	mode     dns.Mode
	takeover dns.Takeover
	role     peer.Role
	// trouble says why this operator cannot write, though it should: a condition's reason and message.
	trouble trouble
	// retry says that what failed is to be tried again now.
	retry bool
	// unfit says why no first record may name the mail hosts yet.
	unfit string
	// otherSite says what the other site sees, where that is something else.
	otherSite string
	// since is when the settled state became what it is, and deadline until when somebody has time to mend it.
	since     time.Time
	deadline  time.Time
	departure departure
	now       time.Time
}

// trouble is a reason and a message; the zero trouble is none.
type trouble struct{ reason, message string }

// course is how a judgement ends the pass.
type course int

const (
	courseOn course = iota // it does not
	courseWaits
	courseStalls
	courseAsks // somebody outside must act
)

// judgement is what DNSVerified says, and what is done.
type judgement struct {
	status  metav1.ConditionStatus
	reason  string
	message string
	course  course
	// keep says that what was said before still holds.
	keep bool
	// ask says that the request, or the warning, is shown.
	ask bool
	do  *dns.Change
}

// stoppedBy are the reasons of states in which only a person can go on, or in which nothing is known.
var stoppedBy = map[dns.State]string{
	dns.Foreign: v1alpha1.ReasonForeignMX, dns.Hybrid: v1alpha1.ReasonHybridMX, dns.Conflict: v1alpha1.ReasonOwnedByOther,
	dns.Alias: v1alpha1.ReasonAlias, dns.LameServer: v1alpha1.ReasonLame, dns.Unverifiable: v1alpha1.ReasonUnverifiable,
}

// judge decides about a domain's records. Pure.
func (o outlook) judge() judgement {
	switch {
	case o.settled.Unknown:
		return judgement{status: metav1.ConditionUnknown, reason: stoppedBy[o.settled.State], message: o.settled.Sentence}
	case o.verdict.State != o.settled.State:
		return judgement{keep: true}
	}
	mode := o.mode
	if o.trouble.reason != "" && o.role.Acts {
		mode = dns.VerifyOnly
	}
	d := dns.Plan(o.verdict, o.want, dns.Policy{Mode: mode, Takeover: o.takeover})
	j := judgement{status: metav1.ConditionFalse, reason: d.Reason, message: d.Sentence, ask: d.Ask}
	switch {
	case d.Do != nil:
		return o.writing(d.Do, d.Sentence)
	case d.Outcome == dns.Ready:
		return judgement{status: metav1.ConditionTrue, reason: v1alpha1.ReasonMXOurs, message: o.verdict.Sentence}
	case d.Reason == v1alpha1.ReasonRecordRequested && o.now.After(o.deadline):
		j.reason, j.course = v1alpha1.ReasonRecordOverdue, courseStalls
		j.message += fmt.Sprintf("; the deadline of %s is over: ask again, or ask why", o.deadline.Format(time.DateOnly))
	case d.Reason == v1alpha1.ReasonRecordRequested:
		j.course = courseAsks
		j.message += "; send them status.dns.recordRequest"
	default:
		j.reason, j.course = cmp.Or(stoppedBy[o.verdict.State], d.Reason), courseStalls
		j.message += "; nothing is written, see status.dns.recordRequest"
	}
	return j
}

// judgeAndRetry is judge, with a write that failed before tried again behind what is said meanwhile.
func (o outlook) judgeAndRetry() judgement {
	j := o.judge()
	if o.trouble.reason == "" || !o.retry || j.keep || j.do != nil {
		return j
	}
	untroubled := o
	untroubled.trouble = trouble{}
	j.do = untroubled.judge().do
	return j
}

// writing is the judgement of a domain that is about to be written, or would be if something did not stand against it.
func (o outlook) writing(c *dns.Change, why string) judgement {
	j := judgement{status: metav1.ConditionFalse, reason: v1alpha1.ReasonMXWriting, message: why, course: courseWaits}
	first := c.Kind == dns.Claiming || c.Kind == dns.TakingOver
	switch {
	case o.verdict.State == dns.Ours: // only the mark is written
		j.status, j.reason, j.message, j.course = metav1.ConditionTrue, v1alpha1.ReasonMXOurs, o.verdict.Sentence, courseOn
		if !o.role.Acts || o.otherSite != "" {
			return j
		}
	case !o.role.Acts:
		j.reason, j.message = v1alpha1.ReasonOtherSiteWrites, why+": site "+o.role.Actor+" writes, and this one in its place when that has been silent for long"
		return j
	case o.otherSite != "":
		j.message = why + ": it waits until both sites see the same; " + o.otherSite
		return j
	case first && o.unfit != "":
		j.message = why + ": it waits for the mail hosts; " + o.unfit
		return j
	}
	j.do = c
	if o.role.Deputy { // so that the preferred site, should it be alive and cut off, stops
		will := o.want.Owner
		will.Epoch++
		c.Will.Owner = will.Text(c.Will.MX)
	}
	return j
}

// troubleOf names why the last write was not made. Pure.
func troubleOf(err error) trouble {
	for _, known := range []struct {
		is     error
		reason string
	}{
		{dns.ErrClock, v1alpha1.ReasonClocksDiffer},
		{dns.ErrKey, v1alpha1.ReasonTSIGKeyRefused},
		{dns.ErrRights, v1alpha1.ReasonUpdateRefused},
		{dns.ErrZone, v1alpha1.ReasonUpdateRefused},
	} {
		if errors.Is(err, known.is) {
			return trouble{known.reason, err.Error()}
		}
	}
	if err == nil || errors.Is(err, dns.ErrChanged) || errors.As(err, new(refusal)) {
		return trouble{} // it is looked at again, or waits: nothing is broken
	}
	return trouble{v1alpha1.ReasonUpdateFailed, err.Error()}
}
