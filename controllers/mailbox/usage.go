package mailbox

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/contract"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

const (
	// usageEvery is how often a mailbox's use is looked at: Dovecot opens the mailbox for it.
	usageEvery = 5 * time.Minute
	// near and over are the percentages of a quota at which a person should hear of it, and hysteresis is how far use must fall
	// below one to be forgotten.
	near, over, hysteresis = 80, 95, 3
)

// looks remembers when each mailbox's use is looked at next. Losing it is looking once more.
type looks struct {
	mu   sync.Mutex
	next map[types.NamespacedName]time.Time
}

// due says whether to look now, and how long it is until the next look.
func (l *looks) due(key types.NamespacedName, now time.Time) (bool, time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Before(l.next[key]) {
		return false, l.next[key].Sub(now)
	}
	if l.next == nil {
		l.next = map[types.NamespacedName]time.Time{}
	}
	after := usageEvery + rand.N(usageEvery/5) // spread: all were made at once
	l.next[key] = now.Add(after)
	return true, after
}

// forget drops what is remembered of a mailbox that is gone.
func (l *looks) forget(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.next, key)
}

// watchUsage shows what the mailbox holds. Not knowing it is no fault of the mailbox: what was known stays.
func watchUsage(ctx context.Context, s *scope) (reconcile.Result, error) {
	due, next := s.looks.due(client.ObjectKeyFromObject(s.mailbox), s.Now)
	switch {
	case s.fresh && s.mailbox.Status.Usage == nil: // made by this pass; Dovecot would make its folders now, to answer nothing
		s.mailbox.Status.Usage = shown(s.mailbox.Status.Usage, admin.Usage{}, s.granted.Bytes)
	case due:
		u, err := s.engine.Usage(ctx, s.mailbox.Address())
		if err != nil {
			logf.FromContext(ctx).V(4).Info("the use of the mailbox is not known", "error", err.Error())
		} else {
			s.mailbox.Status.Usage = shown(s.mailbox.Status.Usage, u, s.granted.Bytes)
		}
	}
	usage := s.mailbox.Status.Usage
	if usage == nil {
		return reconcile.Result{RequeueAfter: next}, nil
	}
	was := ""
	if c := meta.FindStatusCondition(s.mailbox.Status.Conditions, v1alpha1.ConditionQuotaHealthy); c != nil {
		was = c.Reason
	}
	c := judgeQuota(*usage.Percent, was, s.granted.Bytes)
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	return reconcile.Result{RequeueAfter: next}, nil
}

// shown is the usage to show: another one only when it changed by something that matters, which is a point of the quota, a tenth
// of what there was, or the first message. Pure.
func shown(old *v1alpha1.MailboxUsage, u admin.Usage, quota int64) *v1alpha1.MailboxUsage {
	percent := int32(min(u.Bytes*100/max(quota, 1), 1000))
	if old != nil && *old.Percent == percent && (*old.Messages == 0) == (u.Messages == 0) && 10*abs(u.Bytes-*old.Bytes) <= *old.Bytes {
		return old
	}
	return &v1alpha1.MailboxUsage{Bytes: ptr.To(u.Bytes), Messages: ptr.To(u.Messages), Percent: ptr.To(percent)}
}

func abs(n int64) int64 { return max(n, -n) }

// judgeQuota is QuotaHealthy, given the reason that it had. Pure.
func judgeQuota(percent int32, was string, quota int64) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionQuotaHealthy, Status: metav1.ConditionFalse}
	isOver := was == v1alpha1.ReasonOverQuota
	isNear := isOver || was == v1alpha1.ReasonNearQuota
	switch {
	case percent >= over, isOver && percent > over-hysteresis:
		c.Reason = v1alpha1.ReasonOverQuota
		c.Message = fmt.Sprintf("%d %% or more of %s were used: what arrives is refused when it is full; have its holder archive and delete now, or ask for a larger quota", over, contract.Size(quota))
	case percent >= near, isNear && percent > near-hysteresis:
		c.Reason = v1alpha1.ReasonNearQuota
		c.Message = fmt.Sprintf("%d %% or more of %s were used: a mailbox is no archive; have its holder move mail to the document management system and delete it here", near, contract.Size(quota))
	default:
		c.Status, c.Reason, c.Message = metav1.ConditionTrue, v1alpha1.ReasonWithinQuota, "there is room in the mailbox"
	}
	return c
}
