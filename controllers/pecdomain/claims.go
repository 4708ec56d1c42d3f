package pecdomain

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// RestoredAnnotation on a volume claim, "true", is a person's word that the volume behind it holds the mail that the lost one
// held.
const RestoredAnnotation = "pec-operator.dev/restored"

// keepClaims makes the stack's volume claims once, and grows them. One that was there and is gone is never made again: an
// empty volume must not pass for a mailbox.
func keepClaims(ctx context.Context, s *scope) (reconcile.Result, error) {
	o, err := s.observeClaims(ctx)
	if err != nil {
		return reconcile.Result{}, err
	}
	plan, err := o.plan()
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, claim := range plan.create {
		if err := s.Client.Create(ctx, claim, reconcile.FieldOwner); err != nil {
			return reconcile.Result{}, fmt.Errorf("making volume claim %s: %w", client.ObjectKeyFromObject(claim), err)
		}
		o.live[claim.Name] = claim
	}
	for _, grown := range plan.grow {
		before := o.live[grown.Name]
		if err := s.Client.Patch(ctx, grown, client.MergeFrom(before), reconcile.FieldOwner); err != nil {
			return reconcile.Result{}, fmt.Errorf("growing volume claim %s: %w", client.ObjectKeyFromObject(grown), err)
		}
	}
	s.domain.Status.Claims = record(o)
	if plan.larger != "" {
		s.True(v1alpha1.ConditionStorageReady, v1alpha1.ReasonClaimsLarger, fmt.Sprintf(
			"volume claim %s is larger than storage.size and stays so: a volume cannot shrink under its mail; set storage.size to its size", plan.larger))
		return reconcile.Result{}, nil
	}
	s.True(v1alpha1.ConditionStorageReady, v1alpha1.ReasonClaimsPresent, "every volume claim is there")
	return reconcile.Result{}, nil
}

// claims is everything that the plan rests on.
type claims struct {
	desired  []*corev1.PersistentVolumeClaim
	live     map[string]*corev1.PersistentVolumeClaim
	recorded []v1alpha1.ClaimStatus
	// ran says whether the stack has a StatefulSet, which is made after the claims.
	ran bool
}

func (s *scope) observeClaims(ctx context.Context) (claims, error) {
	o := claims{desired: stack.Claims(s.domain), live: map[string]*corev1.PersistentVolumeClaim{}, recorded: s.domain.Status.Claims}
	for _, want := range o.desired {
		have := &corev1.PersistentVolumeClaim{}
		err := s.Live.Get(ctx, client.ObjectKeyFromObject(want), have)
		switch {
		case err == nil && have.DeletionTimestamp.IsZero():
			o.live[want.Name] = have
		case err != nil && !apierrors.IsNotFound(err):
			return o, fmt.Errorf("reading volume claim %s: %w", client.ObjectKeyFromObject(want), err)
		}
	}
	set := &appsv1.StatefulSet{}
	err := s.Live.Get(ctx, client.ObjectKey{Namespace: s.domain.Namespace, Name: stack.NamesFor(s.domain.Name).StatefulSet}, set)
	if err != nil && !apierrors.IsNotFound(err) {
		return o, fmt.Errorf("reading the StatefulSet of %s: %w", s.domain.Name, err)
	}
	o.ran = err == nil
	return o, nil
}

type claimPlan struct {
	create, grow []*corev1.PersistentVolumeClaim
	larger       string // name of a claim that is larger than the spec wants
}

// plan says which claims to make and which to grow, or that one is lost. A claim that is not there was lost, and not merely
// never made, when its name is recorded, when the stack has a StatefulSet, or when a sister claim has a volume. Pure.
func (o claims) plan() (claimPlan, error) {
	var p claimPlan
	used := o.ran
	for _, have := range o.live {
		used = used || have.Status.Phase == corev1.ClaimBound
	}
	for _, want := range o.desired {
		have := o.live[want.Name]
		was := slices.IndexFunc(o.recorded, func(c v1alpha1.ClaimStatus) bool { return c.Name == want.Name })
		switch {
		case have == nil && (used || was >= 0):
			return p, reconcile.StalledBy(v1alpha1.ConditionClaimLost, v1alpha1.ReasonClaimMissing, fmt.Sprintf(
				"volume claim %s was made and is not there; nothing is made again, because an empty volume would pass for the mail: restore the volume under a claim of this name annotated %s=true",
				want.Name, RestoredAnnotation))
		case have == nil:
			p.create = append(p.create, want)
		case was >= 0 && o.recorded[was].UID != string(have.UID) && have.Annotations[RestoredAnnotation] != "true":
			return p, reconcile.StalledBy(v1alpha1.ConditionClaimLost, v1alpha1.ReasonClaimReplaced, fmt.Sprintf(
				"volume claim %s is not the one that was made; when its volume holds the mail that was there, say so: kubectl annotate pvc -n %s %s %s=true",
				want.Name, want.Namespace, want.Name, RestoredAnnotation))
		default:
			p.size(have, want)
		}
	}
	return p, nil
}

// size compares what a claim asks for with what it should.
func (p *claimPlan) size(have, want *corev1.PersistentVolumeClaim) {
	asked, wanted := have.Spec.Resources.Requests[corev1.ResourceStorage], want.Spec.Resources.Requests[corev1.ResourceStorage]
	switch asked.Cmp(wanted) {
	case -1:
		grown := have.DeepCopy()
		grown.Spec.Resources.Requests[corev1.ResourceStorage] = wanted
		p.grow = append(p.grow, grown)
	case 1:
		p.larger = have.Name
	}
}

// record is what the status keeps of the claims, in the order of the stack's.
func record(o claims) []v1alpha1.ClaimStatus {
	var out []v1alpha1.ClaimStatus
	for _, want := range o.desired {
		out = append(out, v1alpha1.ClaimStatus{Name: want.Name, UID: string(o.live[want.Name].UID)})
	}
	return out
}
