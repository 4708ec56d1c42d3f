package retentionpolicy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/calendar"
	"github.com/pec-operator/pec-operator/internal/pec"
	"github.com/pec-operator/pec-operator/internal/retention"
)

// The decisions here are pure: the policy, what is known and the time go in.

// scheduleOf works a schedule out.
func scheduleOf(spec v1alpha1.RetentionSchedule) (s calendar.Schedule, err error) {
	if s.At, err = calendar.ParseTimeOfDay(string(spec.At)); err != nil {
		return s, err
	}
	if s.Days, err = calendar.ParseDays(spec.Days); err != nil {
		return s, err
	}
	for _, w := range spec.Windows {
		window, err := calendar.ParseWindow(w.Days, w.Opens, w.Closes)
		if err != nil {
			return s, err
		}
		s.Windows.Allow = append(s.Windows.Allow, window)
	}
	return s, s.Check()
}

// forgetful is how far back a schedule owes runs when nothing is recorded of it: a status that was lost makes no year of misses.
const forgetful = 8 * 24 * time.Hour

// ledger is what the recorded runs tell the calendar: their states, and the time before which all are settled.
func ledger(runs []v1alpha1.RetentionRun, created, now time.Time) (since time.Time, done calendar.Ledger) {
	since, done = created, calendar.Ledger{}
	if forgotten := now.Add(-forgetful); since.Before(forgotten) {
		since = forgotten
	}
	for _, run := range runs {
		switch run.State {
		case v1alpha1.RunRunning:
			done[run.Name] = calendar.Running
		case v1alpha1.RunMissed:
			done[run.Name] = calendar.Missed
		default:
			done[run.Name] = calendar.Done
		}
	}
	for _, run := range slices.Backward(runs) { // the oldest first
		if run.State == v1alpha1.RunRunning {
			return run.At.Add(-time.Second), done
		}
		since = run.At.Time
	}
	return since, done
}

// maxRuns is how many runs the status shows.
const maxRuns = 7

// record puts a run into the list, newest first, in the place of what the list said of it before. A run that is under way is never
// dropped from the list.
func record(runs []v1alpha1.RetentionRun, run v1alpha1.RetentionRun) []v1alpha1.RetentionRun {
	kept := slices.DeleteFunc(slices.Clone(runs), func(r v1alpha1.RetentionRun) bool { return r.Name == run.Name })
	kept = append(kept, run)
	slices.SortFunc(kept, func(a, b v1alpha1.RetentionRun) int { return b.At.Compare(a.At.Time) })
	for i := len(kept) - 1; i >= 0 && len(kept) > maxRuns; i-- {
		if kept[i].State != v1alpha1.RunRunning {
			kept = slices.Delete(kept, i, i+1)
		}
	}
	return kept
}

// keptUntil is the day until which what is archived at a time is kept: of two promises the later.
func keptUntil(p *v1alpha1.RetentionPolicy, at time.Time) time.Time {
	until := at.AddDate(0, p.Spec.Archive.KeepMonthsOrDefault(), 0)
	if closure := closureOf(p); closure.After(until) {
		return closure
	}
	return until
}

// closureOf is afterClosure.archiveUntil, the beginning of that day on the wall in Rome; zero when not given.
func closureOf(p *v1alpha1.RetentionPolicy) time.Time {
	if p.Spec.AfterClosure == nil {
		return time.Time{}
	}
	at, err := time.ParseInLocation(time.DateOnly, string(p.Spec.AfterClosure.ArchiveUntil), pec.Rome())
	if err != nil {
		return time.Time{} // the API server has checked that there is such a day
	}
	return at.UTC()
}

// judgeClocks is ClocksAgree. It compares months: a verdict that hung on the day would change with every day.
func judgeClocks(p *v1alpha1.RetentionPolicy, now time.Time) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionClocksAgree, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonOnePromise,
		Message: "nothing says two things about how long an archive is kept"}
	if p.Spec.Archive == nil || p.Spec.AfterClosure == nil {
		return c
	}
	months, closure := p.Spec.Archive.KeepMonthsOrDefault(), closureOf(p)
	until := now.AddDate(0, months, 0)
	if until.In(pec.Rome()).Format("2006-01") == closure.In(pec.Rome()).Format("2006-01") {
		return c
	}
	counts := "afterClosure.archiveUntil"
	if until.After(closure) {
		counts = "archive.keepMonths"
	}
	c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonLatestPromiseWins
	c.Message = fmt.Sprintf("archive.keepMonths keeps an archive for %d months, afterClosure.archiveUntil until %s: the later promise counts, today that of %s",
		months, p.Spec.AfterClosure.ArchiveUntil, counts)
	return c
}

// runPlan is what the pods of a run's Job read.
func runPlan(p *v1alpha1.RetentionPolicy, at time.Time, work []mailbox) retention.Plan {
	archive := p.Spec.Archive
	plan := retention.Plan{Day: at.UTC(), Rule: retention.Rule{Before: at.UTC().AddDate(0, 0, -int(*archive.OlderThanDays)), Folders: archive.Folders}}
	for _, class := range archive.Messages {
		plan.Rule.Classes = append(plan.Rule.Classes, retention.Class(class))
	}
	if p.Spec.Remove != nil {
		plan.ArchivedBefore = at.UTC().AddDate(0, 0, -int(*p.Spec.Remove.AfterArchiveDays))
	}
	if s3 := archive.Destination.S3; s3 != nil {
		plan.S3 = &retention.S3{Endpoint: string(s3.Endpoint), Bucket: s3.Bucket, Prefix: s3.Prefix, Region: s3.Region}
		if s3.ObjectLock != v1alpha1.ObjectLockNotRequired {
			plan.S3.RetainUntil = keptUntil(p, at.UTC())
		}
	}
	for _, m := range work {
		held := len(m.holds) > 0 || len(p.Spec.LegalHolds) > 0
		// Nothing is acknowledged before something is handed over, and this release hands nothing over.
		waits := p.Spec.Remove != nil && p.Spec.Remove.When == v1alpha1.RemoveAcknowledged
		plan.Mailboxes = append(plan.Mailboxes, retention.MailboxPlan{Address: m.address, Engine: m.engine, Host: m.host.String(), Held: held || waits, Review: m.review})
	}
	return plan
}

// peerList is what the other site says is due.
type peerList struct {
	looked         bool // in this pass
	answers, there bool // the site; the policy there
	due            *v1alpha1.DueForRemoval
	restore        *v1alpha1.RestoreStatus
}

// verdict is what comes of two lists.
type verdict struct {
	condition, reason, message string
	sites                      []string // that hold our list
	disputes                   *int64
}

// judgeLists compares this site's list of what is due with the other's. Absence there is a difference, and no order. Pure.
func judgeLists(site string, ours *v1alpha1.DueForRemoval, other peerList, addresses []string) verdict {
	v := verdict{condition: v1alpha1.ConditionWaitingForPeer, reason: v1alpha1.ReasonPeerListUnknown, sites: []string{site}}
	count := func(n int) *int64 { return ptr.To(int64(n)) }
	switch {
	case ours == nil:
		v.reason, v.message = v1alpha1.ReasonOwnListUnknown, "this site has no list of what is due; the next run makes one"
		return v
	case !other.answers:
		v.message = "the other site does not answer, so that its list of what is due is not known; nothing would be removed"
		return v
	case !other.there && *ours.Count > 0:
		v.condition, v.reason, v.disputes = v1alpha1.ConditionDisputed, v1alpha1.ReasonPeerLacksPolicy, count(len(ours.Mailboxes)/(2*retention.Half))
		v.message = "messages are due here, and the other site has no such policy: apply it there, or take remove out of this one; nothing is removed"
		return v
	case other.due == nil || other.due.Run != ours.Run:
		v.message = "the other site shows no list of " + ours.Run + ", which is this site's; they are compared when it does"
		return v
	}
	there := slices.DeleteFunc(slices.Clone(other.due.Sites), func(name string) bool { return name == site })
	switch {
	case len(there) == 0:
		v.message = "what answers as the other site is " + site + " too: see the value site of both operators"
	case other.due.Digest == ours.Digest && *other.due.Count == *ours.Count:
		v.condition, v.reason, v.disputes, v.sites = "", "", count(0), slices.Sorted(slices.Values(append(there, site)))
	default:
		names, others := retention.Differing(ours.Mailboxes, other.due.Mailboxes, addresses)
		v.condition, v.reason, v.disputes = v1alpha1.ConditionDisputed, v1alpha1.ReasonListsDiffer, count(len(names)+others)
		v.message = fmt.Sprintf("of %s %d messages are due here and %d at site %s, and they are not the same; nothing is removed of any mailbox: %s",
			ours.Run, *ours.Count, *other.due.Count, there[0], differing(names, others))
	}
	return v
}

// differing words which mailboxes differ.
func differing(names []string, others int) string {
	switch {
	case len(names) == 0 && others == 0:
		return "there are too many mailboxes to say which"
	case others == 0:
		return named(names)
	}
	return fmt.Sprintf("%s (%d that this site does not select)", cmp.Or(named(names), "none of this site's"), others)
}
