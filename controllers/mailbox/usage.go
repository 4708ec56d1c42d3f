package mailbox

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/mailage"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// youngest is the least number of days that a rate is taken over: a mailbox that was filled yesterday does not fill up every day.
	youngest = 7
	// horizon is how many days ahead a full mailbox is foreseen, and beyond how many one that was foreseen is no more.
	horizon, beyondHorizon = 730, 800
)

// measure is what a look found.
type measure struct {
	bytes, messages int64
	quota           int64 // 0 where nobody says how much fits
	// ages is nil before the mailbox was searched; its Year is unknown where there was too much to count.
	ages *mailage.Ages
	sent *int64 // nil where nobody counts
}

// usageJudge is what there is to say of a use.
type usageJudge func(*v1alpha1.MailboxUsage) []metav1.Condition

// watchUsage shows what the mailbox holds, and what to do about it. Not knowing it is no fault of the mailbox: what was known stays.
func watchUsage(ctx context.Context, s *scope) (reconcile.Result, error) {
	if s.isAway() { // nor is it asked: each would wait for the same engine
		return reconcile.Result{RequeueAfter: s.UsageEvery}, nil
	}
	due, next := s.looks.Due(client.ObjectKeyFromObject(s.mailbox), s.mailbox.Status.Usage != nil, s.Now)
	due = due || s.Request() != ""
	shown, quota := s.mailbox.Status.Usage, s.has.Mailbox.QuotaBytes // a freeze may hold the one that is granted
	s.mailbox.Status.Usage = underQuota(shown, quota, s.Now)
	archive, err := s.archiveJudge(ctx, due || s.mailbox.Status.Usage != shown)
	if err != nil {
		return reconcile.Result{}, err
	}
	judge := func(u *v1alpha1.MailboxUsage) []metav1.Condition {
		return slices.Concat(
			judgeQuota(u, s.reasonWas(v1alpha1.ConditionQuotaHealthy), quota), archive(u),
			judgeType(u, s.reasonWas(v1alpha1.ConditionUsageMatchesType), s.sender()))
	}
	switch {
	case !s.has.There && s.mailbox.Status.Usage == nil: // made by this pass; Dovecot would make its folders now, to answer nothing
		s.show(measure{quota: quota, sent: new(int64)}, judge)
	case due:
		u, err := s.engine.Usage(ctx, s.mailbox.Address())
		if err != nil {
			logf.FromContext(ctx).V(4).Info("the use of the mailbox is not known", "error", err.Error())
		} else {
			s.show(measure{bytes: u.Bytes, messages: u.Messages, quota: quota, ages: u.Ages, sent: &u.SentInMonth}, judge)
		}
	}
	s.sayAll(judge)
	return reconcile.Result{RequeueAfter: next}, nil
}

// archiveJudge is what judges whether mail should be archived. Which policy does that is asked when the use is looked at, or the spec is
// new; otherwise what was said stays.
func (s *scope) archiveJudge(ctx context.Context, due bool) (usageJudge, error) {
	if !due && s.mailbox.Status.ObservedGeneration == s.mailbox.Generation {
		return func(*v1alpha1.MailboxUsage) []metav1.Condition {
			if was := meta.FindStatusCondition(s.mailbox.Status.Conditions, v1alpha1.ConditionArchiveRecommended); was != nil {
				return []metav1.Condition{*was}
			}
			return nil
		}, nil
	}
	policy, err := s.archivedBy(ctx)
	return func(u *v1alpha1.MailboxUsage) []metav1.Condition {
		return judgeArchive(u, s.reasonWas(v1alpha1.ConditionArchiveRecommended), policy, s.Now)
	}, err
}

// show puts what a look found into the status, if it differs by something that matters, or makes a judge say something else.
func (s *scope) show(m measure, judge usageJudge) {
	old := s.mailbox.Status.Usage
	is := usageOf(old, m, s.Now)
	if !alike(old, is, m.quota, s.Now) || !slices.EqualFunc(judge(old), judge(is), func(a, b metav1.Condition) bool { return a.Type == b.Type && a.Reason == b.Reason }) {
		s.mailbox.Status.Usage = is
	}
}

// sayAll says what the judge makes of the usage that the status shows; nothing before the first look.
func (s *scope) sayAll(judge usageJudge) {
	if s.mailbox.Status.Usage == nil {
		return
	}
	for _, c := range judge(s.mailbox.Status.Usage) {
		s.Say(c.Type, c.Status, c.Reason, c.Message)
	}
}

// reasonWas is the reason that a condition had, "" if it was not there.
func (s *scope) reasonWas(conditionType string) string {
	if c := meta.FindStatusCondition(s.mailbox.Status.Conditions, conditionType); c != nil {
		return c.Reason
	}
	return ""
}

// usageOf is the usage to show of a measure. What was not measured stays as it was. Pure.
func usageOf(old *v1alpha1.MailboxUsage, m measure, now time.Time) *v1alpha1.MailboxUsage {
	is := &v1alpha1.MailboxUsage{Bytes: ptr.To(m.bytes), Messages: ptr.To(m.messages)}
	if old == nil {
		old = &v1alpha1.MailboxUsage{}
	}
	is.Percent = percentOf(m.bytes, m.quota)
	if m.sent != nil {
		is.SentPerMonth = ptr.To(twoFigures(*m.sent))
	}
	if m.ages == nil {
		is.GrowthPerDay, is.FullOn, is.OldPercent = old.GrowthPerDay, old.FullOn, old.OldPercent
		return is
	}
	is.GrowthPerDay = ptr.To(growth(*m.ages, m.bytes, now))
	is.FullOn = fullOn(old.FullOn, m, *is.GrowthPerDay, now)
	if m.ages.Year != mailage.Unknown {
		share := max(m.bytes-m.ages.Year, 0) * 100 / max(m.bytes, 1)
		is.OldPercent = ptr.To(int32(share / 5 * 5)) //nolint:gosec // a percentage
	}
	return is
}

// underQuota is a usage as it is under a quota: the same where it was shown under that one. What is used is asked every few minutes, and
// until then a new quota would stand beside the share of the former. Pure.
func underQuota(u *v1alpha1.MailboxUsage, quota int64, now time.Time) *v1alpha1.MailboxUsage {
	if u == nil || ptr.Equal(u.Percent, percentOf(*u.Bytes, quota)) {
		return u
	}
	is := u.DeepCopy()
	is.Percent = percentOf(*u.Bytes, quota)
	is.FullOn = fullOn(u.FullOn, measure{bytes: *u.Bytes, quota: quota}, ptr.Deref(u.GrowthPerDay, 0), now)
	return is
}

// percentOf is how many hundredths of a quota are used, at most 1000; nil where nobody says how much fits. Pure.
func percentOf(bytes, quota int64) *int32 {
	if quota == 0 {
		return nil
	}
	return ptr.To(int32(min(bytes*100/quota, 1000))) //nolint:gosec // bounded
}

// growth is how many bytes a day a mailbox grows by: what arrived in the last month and is still there, over that month. A mailbox
// that holds little else is as young as the oldest of it. Pure.
func growth(a mailage.Ages, bytes int64, now time.Time) int64 {
	days := int64(mailage.MonthDays)
	if bytes-a.Month <= bytes/10 && !a.Since.IsZero() {
		days = min(max(int64(now.Sub(a.Since)/(24*time.Hour))+1, youngest), days)
	}
	return twoFigures(a.Month / days)
}

// twoFigures rounds a count to the nearest of two figures. Pure.
func twoFigures(n int64) int64 {
	step := int64(1)
	for n/step >= 100 {
		step *= 10
	}
	return (n + step/2) / step * step
}

// fullOn is the day on which the quota is reached at a rate, "" when it is too far away. A mailbox that is full was full on the day
// that was foreseen, or is today, if that is sooner. Pure.
func fullOn(old v1alpha1.Date, m measure, growth int64, now time.Time) v1alpha1.Date {
	today := v1alpha1.Date(now.UTC().Format(time.DateOnly))
	switch {
	case m.quota > 0 && m.bytes >= m.quota:
		return min(cmp.Or(old, today), today)
	case m.quota == 0 || growth == 0:
		return ""
	}
	limit := int64(horizon)
	if old != "" {
		limit = beyondHorizon
	}
	days := (m.quota - m.bytes) / growth
	if days > limit {
		return ""
	}
	return v1alpha1.Date(now.UTC().AddDate(0, 0, int(days)).Format(time.DateOnly))
}

// daysTo is how many days a date is ahead; a date that nobody can read is far away. Pure.
func daysTo(d v1alpha1.Date, now time.Time) int64 {
	at, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return math.MaxInt32
	}
	return int64(at.Sub(now.UTC().Truncate(24*time.Hour)) / (24 * time.Hour))
}

// alike says whether two usages are the same in all that matters, so that a busy mailbox is a write now and then and none for a message. Pure.
func alike(old, is *v1alpha1.MailboxUsage, quota int64, now time.Time) bool {
	return old != nil && sameSize(old, is) &&
		sameGrowth(ptr.Deref(old.GrowthPerDay, 0), ptr.Deref(is.GrowthPerDay, 0), quota) &&
		sameFullOn(old.FullOn, is.FullOn, now) &&
		sameOldShare(ptr.Deref(old.OldPercent, 0), ptr.Deref(is.OldPercent, 0)) &&
		sameSent(ptr.Deref(old.SentPerMonth, 0), ptr.Deref(is.SentPerMonth, 0))
}

// sameSize allows a tenth of the bytes; a point of the quota is a difference, and so is the first message. Pure.
func sameSize(old, is *v1alpha1.MailboxUsage) bool {
	return ptr.Equal(old.Percent, is.Percent) && (*old.Messages == 0) == (*is.Messages == 0) && 10*abs(*is.Bytes-*old.Bytes) <= *old.Bytes
}

// sameGrowth allows a fifth; and whatever comes to no more than a hundredth of the quota, or 2 MiB, in a month. Pure.
func sameGrowth(was, is, quota int64) bool {
	return abs(is-was) <= max(quota/3000, 64<<10) || 5*abs(is-was) <= max(is, was)
}

// sameFullOn allows an eighth of the days that are left, or three days; that a full mailbox is foreseen, or no more, is a difference. Pure.
func sameFullOn(old, is v1alpha1.Date, now time.Time) bool {
	left := daysTo(is, now)
	return (old == "") == (is == "") && abs(left-daysTo(old, now)) <= max(3, abs(left)/8)
}

// sameOldShare allows less than ten points. Pure.
func sameOldShare(was, is int32) bool { return abs(int64(is)-int64(was)) < 10 }

// sameSent allows a quarter, or 20 messages. Pure.
func sameSent(was, is int64) bool { return abs(is-was) <= 20 || 4*abs(is-was) <= max(is, was) }

func abs(n int64) int64 { return max(n, -n) }
