package pecdomain

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/availability"
	"github.com/pec-operator/pec-operator/internal/reconcile"
)

// measureService has the promised service watched, and shows what its ledger comes to. It never ends a pass.
func measureService(_ context.Context, s *scope) (reconcile.Result, error) {
	promise := s.domain.Spec.ServiceLevel
	missing := s.Namespaces.Missing(s.domain.Namespace, nil)
	if promise == nil || missing != "" {
		s.Meter.leave(client.ObjectKeyFromObject(s.domain))
	}
	switch {
	case promise == nil:
		s.domain.Status.ServiceLevel = nil
		return reconcile.Result{}, nil
	case missing != "":
		s.Say(v1alpha1.ConditionServiceLevelMet, metav1.ConditionUnknown, v1alpha1.ReasonNamespaceNotGranted, missing)
		return reconcile.Result{RequeueAfter: later}, nil
	}
	s.Meter.on(s.domain)
	seen, known := s.Meter.seen(client.ObjectKeyFromObject(s.domain))
	for _, n := range seen.news {
		tell(s.Recorder, s.domain, n)
	}
	if !known {
		s.recallService()
		return reconcile.Result{RequeueAfter: soon}, nil
	}
	if seen.fault != "" {
		s.Say(v1alpha1.ConditionServiceLevelMet, metav1.ConditionUnknown, v1alpha1.ReasonServiceNotMeasured, seen.fault)
		return reconcile.Result{RequeueAfter: later}, nil
	}
	level := seen.ledger.Level(s.Now)
	s.domain.Status.ServiceLevel = serviceLevel(level)
	c := judgeService(level, promise.AvailabilityPercent)
	s.Say(c.Type, c.Status, c.Reason, c.Message)
	return reconcile.Result{RequeueAfter: later}, nil
}

// recallService repeats what was said before, while this process has not looked yet: a restart is no news.
func (s *scope) recallService() {
	s.Repeat(v1alpha1.ConditionServiceLevelMet)
	if _, said := s.Said(v1alpha1.ConditionServiceLevelMet); !said {
		s.Say(v1alpha1.ConditionServiceLevelMet, metav1.ConditionUnknown, v1alpha1.ReasonServiceNotMeasured, "the service is being looked at for the first time")
	}
}

// serviceLevel is what a period has come to as the status shows it: in begun minutes. Pure.
func serviceLevel(v availability.Level) *v1alpha1.ServiceLevelStatus {
	out := &v1alpha1.ServiceLevelStatus{PeriodStart: metav1.NewTime(v.Start), Availability: v.Availability(),
		DownMinutes: minutes(v.Down), LongestOutageMinutes: minutes(v.Longest), UnmeasuredMinutes: minutes(v.Unmeasured)}
	if !v.OutSince.IsZero() {
		out.OutageSince = ptr.To(metav1.NewTime(v.OutSince))
	}
	return out
}

func minutes(d time.Duration) *int32 {
	return ptr.To(int32((d + time.Minute - 1) / time.Minute)) //nolint:gosec // a period has fewer than 200,000
}

// judgeService is ServiceLevelMet. Pure.
func judgeService(v availability.Level, promise string) metav1.Condition {
	c := metav1.Condition{Type: v1alpha1.ConditionServiceLevelMet, Status: metav1.ConditionFalse}
	total, single, err := v.Allowed(promise)
	switch {
	case err != nil:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonServiceNotMeasured, err.Error()
	case v.Down > total:
		c.Reason = v1alpha1.ReasonAvailabilityMissed
		c.Message = fmt.Sprintf("the service was down for longer than the %d minutes that %s %% allows in this period of four months; the promise of this period is broken, and the next one begins anew", *minutes(total), promise)
	case v.Longest > single:
		c.Reason = v1alpha1.ReasonOutageTooLong
		c.Message = fmt.Sprintf("one outage lasted longer than the %d minutes, half of what %s %% allows in this period of four months, that a single one may last", *minutes(single), promise)
	case !v.Measured:
		c.Status, c.Reason, c.Message = metav1.ConditionUnknown, v1alpha1.ReasonServiceNotMeasured, "nobody has looked at the service in this period yet; status.serviceLevel has the minutes that were not measured"
	default:
		c.Status, c.Reason = metav1.ConditionTrue, v1alpha1.ReasonWithinServiceLevel
		c.Message = fmt.Sprintf("the service was down for no longer than this period of four months allows: %d minutes in all, %d at a time", *minutes(total), *minutes(single))
	}
	return c
}

// watchOn keeps the service of a suspended domain measured: that is no work on it.
func (r *Reconciler) watchOn(d *v1alpha1.PECDomain) {
	if d.Suspended() && d.Spec.ServiceLevel != nil && r.Namespaces.Missing(d.Namespace, nil) == "" {
		r.Meter.on(d)
	}
}
