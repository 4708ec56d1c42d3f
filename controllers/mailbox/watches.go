package mailbox

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/controllers/refs"
)

// takesMailboxes says whether a domain's stack takes mailboxes. Pure.
func takesMailboxes(d *v1alpha1.PECDomain) bool {
	return meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDirectoryInSync)
}

// concernsAll says whether a change of a domain concerns all its mailboxes. That its engine went away does not, nor that it is back. Pure.
func concernsAll(before, after client.Object) bool {
	old, is := before.(*v1alpha1.PECDomain), after.(*v1alpha1.PECDomain)
	return rowsCount(old) != rowsCount(is) || concernsWatched(old, is) || !equality.Semantic.DeepEqual(old.Spec.MailboxDefaults, is.Spec.MailboxDefaults) ||
		(old.Spec.Contract == nil) != (is.Spec.Contract == nil)
}

// concernsStack says whether a change of a domain concerns all mailboxes that its stack serves, its guests' too. Pure.
func concernsStack(before, after client.Object) bool {
	old, is := before.(*v1alpha1.PECDomain), after.(*v1alpha1.PECDomain)
	return old.RunsSpamFilter() != is.RunsSpamFilter() || !slices.Equal(ownAddresses(old), ownAddresses(is))
}

// concernsWaiting says whether a change of a domain lets mailboxes go on that wait for its stack. Pure.
func concernsWaiting(before, after client.Object) bool {
	return !takesMailboxes(before.(*v1alpha1.PECDomain)) && takesMailboxes(after.(*v1alpha1.PECDomain))
}

// concernsHeld says whether a change of a domain may let in whom its contract holds, or give them another place in the queue. Pure.
func concernsHeld(before, after client.Object) bool {
	old, is := before.(*v1alpha1.PECDomain), after.(*v1alpha1.PECDomain)
	return !equality.Semantic.DeepEqual(old.Spec.Contract, is.Spec.Contract) || !equality.Semantic.DeepEqual(old.Status.Contract, is.Status.Contract) ||
		contracts.Diverged(old) != contracts.Diverged(is)
}

// concernsAccess says whether a change of a migration may change what the holders of its mailboxes may do. Pure.
func concernsAccess(before, after client.Object) bool {
	old, is := before.(*v1alpha1.MailboxMigration), after.(*v1alpha1.MailboxMigration)
	return !equality.Semantic.DeepEqual(old.Spec.Mailboxes, is.Spec.Mailboxes) || !equality.Semantic.DeepEqual(old.Status.Phases, is.Status.Phases)
}

// ofDomain are the mailboxes of a domain.
func (r *Reconciler) ofDomain(ctx context.Context, o client.Object) []crreconcile.Request {
	return r.listed(ctx, client.InNamespace(o.GetNamespace()), client.MatchingFields{refs.MailboxDomain: o.GetName()})
}

// onStack are the mailboxes of the domains that a domain's stack serves, itself among them.
func (r *Reconciler) onStack(ctx context.Context, o client.Object) (requests []crreconcile.Request) {
	var domains v1alpha1.PECDomainList
	if r.Client.List(ctx, &domains, client.MatchingFields{refs.DomainHost: refs.Key(client.ObjectKeyFromObject(o))}, client.UnsafeDisableDeepCopy) != nil {
		return nil // a cache that cannot list is being stopped
	}
	for i := range domains.Items {
		requests = append(requests, r.ofDomain(ctx, &domains.Items[i])...)
	}
	return requests
}

// waitingIn are the mailboxes of a domain that are not Ready.
func (r *Reconciler) waitingIn(ctx context.Context, o client.Object) []crreconcile.Request {
	var list v1alpha1.MailboxList
	if r.Client.List(ctx, &list, client.InNamespace(o.GetNamespace()), client.MatchingFields{refs.MailboxDomain: o.GetName()}, client.UnsafeDisableDeepCopy) != nil {
		return nil // a cache that cannot list is being stopped
	}
	var requests []crreconcile.Request
	for i := range list.Items {
		if !meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, v1alpha1.ConditionReady) {
			requests = append(requests, crreconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// heldUnder are the held mailboxes of a domain, and of all domains that draw on its contract.
func (r *Reconciler) heldUnder(ctx context.Context, o client.Object) []crreconcile.Request {
	key := refs.Key(client.ObjectKeyFromObject(o))
	requests := r.listed(ctx, client.MatchingFields{refs.MailboxHeld: key})
	var members v1alpha1.PECDomainList
	if r.Client.List(ctx, &members, client.MatchingFields{refs.DomainPool: key}, client.UnsafeDisableDeepCopy) != nil {
		return requests // a cache that cannot list is being stopped
	}
	for i := range members.Items {
		if member := refs.Key(client.ObjectKeyFromObject(&members.Items[i])); member != key {
			requests = append(requests, r.listed(ctx, client.MatchingFields{refs.MailboxHeld: member})...)
		}
	}
	return requests
}

func (r *Reconciler) listed(ctx context.Context, options ...client.ListOption) []crreconcile.Request {
	var list v1alpha1.MailboxList
	if r.Client.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...) != nil {
		return nil // a cache that cannot list is being stopped
	}
	requests := make([]crreconcile.Request, len(list.Items))
	for i := range list.Items {
		requests[i].NamespacedName = client.ObjectKeyFromObject(&list.Items[i])
	}
	return requests
}

// migrated are the mailboxes that a migration moves out of a domain here. Pure.
func migrated(_ context.Context, o client.Object) []crreconcile.Request {
	m := o.(*v1alpha1.MailboxMigration)
	if m.Spec.Source.Type != v1alpha1.MigrationFromDomain {
		return nil
	}
	var requests []crreconcile.Request
	for _, box := range m.Spec.Mailboxes {
		requests = append(requests, crreconcile.Request{NamespacedName: types.NamespacedName{Namespace: m.Namespace, Name: v1alpha1.MailboxName(string(box.Address))}})
	}
	return requests
}
