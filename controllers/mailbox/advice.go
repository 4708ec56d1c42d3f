package mailbox

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/mailage"
)

// The judges here are pure. Each has a threshold at which it begins to say something and a lower one at which it ends; what it says
// holds no figure that moves without the usage that the status shows.

const (
	// near and over are the percentages of a quota at which a person should hear of it, and hysteresis is how far use must fall
	// below one to be forgotten.
	near, over, hysteresis = 80, 95, 3
	// oldShare of the bytes, and oldRoom of the quota taken by them, make a mailbox an archive; stillOld and stillRoom keep it one.
	oldShare, stillOld = 50, 40
	oldRoom, stillRoom = 20, 16
	// fullInDays are the days before a quota is reached in which something has to be done; stillFullInDays, more of them, end that.
	fullInDays, stillFullInDays = 60, 75
	// standardMonth is the most that a Standard mailbox sends in 30 days, and stillMuch is what it must fall to. The contract has no
	// figure for it. An average Italian certified mailbox sends 15 a month; a hundred on each day is no person's.
	standardMonth, stillMuch = 3000, 2400
)

// judgeQuota is QuotaHealthy, given the reason that it had; nothing where nobody says how much fits.
func judgeQuota(u *v1alpha1.MailboxUsage, was string, quota int64) []metav1.Condition {
	if u == nil || u.Percent == nil {
		return nil
	}
	percent := *u.Percent
	c := metav1.Condition{Type: v1alpha1.ConditionQuotaHealthy, Status: metav1.ConditionFalse}
	isOver := was == v1alpha1.ReasonOverQuota
	isNear := isOver || was == v1alpha1.ReasonNearQuota
	switch {
	case percent >= over, isOver && percent > over-hysteresis:
		c.Reason = v1alpha1.ReasonOverQuota
		c.Message = fmt.Sprintf("%d %% or more of %s were used: what arrives is refused when it is full, and receipts wait; have its holder archive and delete now, or ask for a larger quota", over, contract.Size(quota))
	case percent >= near, isNear && percent > near-hysteresis:
		c.Reason = v1alpha1.ReasonNearQuota
		c.Message = fmt.Sprintf("%d %% or more of %s were used: a mailbox is no archive; have its holder move mail to the document management system and delete it here", near, contract.Size(quota))
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonWithinQuota, "there is room in the mailbox"
	}
	return []metav1.Condition{c}
}

// archiver is what archives a mailbox: the name of a RetentionPolicy with the age at which it does so, or of another provider, for whose
// mailboxes there is no policy; the zero value is nothing.
type archiver struct {
	policy   string
	days     int32
	provider string
}

// archivedBy finds the RetentionPolicy that archives the mailbox: the one that it is under, if that archives.
func (s *scope) archivedBy(ctx context.Context) (archiver, error) {
	var policies v1alpha1.RetentionPolicyList
	if err := s.Client.List(ctx, &policies, client.InNamespace(s.mailbox.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return archiver{}, fmt.Errorf("listing the retention policies of %s: %w", s.mailbox.Address(), err)
	}
	name, _ := refs.PolicyOf(policies.Items, s.mailbox)
	for i := range policies.Items {
		if p := &policies.Items[i]; p.Name == name && p.Spec.Archive != nil {
			return archiver{policy: name, days: *p.Spec.Archive.OlderThanDays}, nil
		}
	}
	return archiver{}, nil
}

// judgeArchive is ArchiveRecommended, given the reason that it had; nothing where there is nothing to say.
func judgeArchive(u *v1alpha1.MailboxUsage, was string, by archiver, now time.Time) []metav1.Condition {
	if u == nil {
		return nil
	}
	share, room, days := int32(oldShare), int32(oldRoom), int64(fullInDays)
	if was != "" {
		share, room, days = stillOld, stillRoom, stillFullInDays
	}
	old := ptr.Deref(u.OldPercent, 0)
	fills := u.FullOn != "" && daysTo(u.FullOn, now) <= days
	keeps := old >= share && (u.Percent == nil || *u.Percent*old/100 >= room)
	c := metav1.Condition{Type: v1alpha1.ConditionArchiveRecommended, Status: metav1.ConditionTrue}
	what := ""
	switch {
	case fills:
		c.Reason = v1alpha1.ReasonFillsSoon
		what = fmt.Sprintf("it grows by %s a day and is full on %s, when what arrives is refused", contract.Size(ptr.Deref(u.GrowthPerDay, 0)), u.FullOn)
	case keeps:
		c.Reason = v1alpha1.ReasonOldMailKept
		what = fmt.Sprintf("%d %% of what it holds is more than a year old, and a mailbox is no archive", old)
	default:
		return nil
	}
	switch {
	case by.provider != "":
		c.Message = what + ": have its holder move mail to the document management system and delete it there, or ask " + by.provider + " for a larger quota"
	case by.policy != "":
		c.Status, c.Reason = metav1.ConditionFalse, v1alpha1.ReasonArchivedByPolicy
		c.Message = fmt.Sprintf("%s; RetentionPolicy %s archives what is older than %d days and removes nothing by itself: have its holder delete what is archived, or ask for a larger quota", what, by.policy, by.days)
	default:
		c.Message = what + ": make a RetentionPolicy that archives it, or have its holder move mail to the document management system, and delete here what is kept there; or ask for a larger quota"
	}
	return []metav1.Condition{c}
}

// sender is what a mailbox is expected to send: the type that it is provisioned as, and what its spec says.
type sender struct {
	kind     contract.Type
	expected int64 // messages in a month
	young    bool  // it is less than the month old that is counted
}

func (s *scope) sender() sender {
	by := sender{kind: s.granted.Type, young: s.Now.Sub(s.mailbox.CreationTimestamp.Time) < mailage.MonthDays*24*time.Hour}
	if m := s.mailbox.Spec.Massive; m != nil {
		by.expected = int64(ptr.Deref(m.ExpectedMessagesPerMonth, 0))
	}
	return by
}

// judgeType is UsageMatchesType, given the reason that it had; nothing where nobody counts what is sent.
func judgeType(u *v1alpha1.MailboxUsage, was string, by sender) []metav1.Condition {
	if u == nil || u.SentPerMonth == nil {
		return nil
	}
	sent := *u.SentPerMonth
	c := metav1.Condition{Type: v1alpha1.ConditionUsageMatchesType, Status: metav1.ConditionFalse}
	stays := func(reason string, begins, ends bool) bool { return begins || (was == reason && !ends) }
	switch massive := by.kind == contract.Massive; {
	case !massive && stays(v1alpha1.ReasonSendsLikeMassive, sent > standardMonth, sent <= stillMuch):
		c.Reason = v1alpha1.ReasonSendsLikeMassive
		c.Message = fmt.Sprintf("more than %d messages of this Standard mailbox were accepted in %d days: if its holder needs that, make it Massive, with its justification and a grant of the contract; else bound it by sending.messagesPerDay", standardMonth, mailage.MonthDays)
	case massive && stays(v1alpha1.ReasonAboveExpected, 2*sent > 3*by.expected, 5*sent <= 6*by.expected):
		c.Reason = v1alpha1.ReasonAboveExpected
		c.Message = fmt.Sprintf("more than one and a half times the %d messages that massive.expectedMessagesPerMonth names were accepted in %d days: have its holder justify the new figure and its grant renewed, or bound it by sending.messagesPerDay", by.expected, mailage.MonthDays)
	case massive && !by.young && stays(v1alpha1.ReasonBelowMassive, sent <= standardMonth && 10*sent < by.expected, 8*sent >= by.expected):
		c.Reason = v1alpha1.ReasonBelowMassive
		c.Message = fmt.Sprintf("less than a tenth of the %d messages that massive.expectedMessagesPerMonth names were accepted in %d days: ask its holder whether it still sends in bulk; if it does not, set type: Standard and remove massive", by.expected, mailage.MonthDays)
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonMatchesType, "the mailbox sends as its type says"
	}
	return []metav1.Condition{c}
}
