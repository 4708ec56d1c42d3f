// Package refs says how the kinds refer to each other: which PECDomain hosts, lends to or claims which, which policy a mailbox is under;
// and it has the cache's indexes by which that is found without reading everything.
package refs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

const (
	// MailboxDomain finds Mailboxes by the name of their domain. The API server selects by it too.
	MailboxDomain = "spec.domainRef.name"
	// MailboxSecret finds Mailboxes by the name of the Secret with their credentials.
	MailboxSecret = "index.secret"
	// DomainName finds PECDomains by name in all namespaces.
	DomainName = "index.name"
	// DomainHost finds PECDomains by the namespace/name of the domain whose stack serves them.
	DomainHost = "index.host"
	// DomainPool finds PECDomains by the namespace/name of the domain whose contract counts for them.
	DomainPool = "index.pool"
	// MailboxHeld finds Mailboxes that their contract holds, by the namespace/name of their domain.
	MailboxHeld = "index.held"
	// MigrationAddress finds MailboxMigrations by the namespace/address of each mailbox that they move out of a domain here.
	MigrationAddress = "index.address"
)

// Key is how the indexes, and AdmittedIn of a row, write a PECDomain: namespace/name.
func Key(domain types.NamespacedName) string { return domain.String() }

// Host is the namespace and name of the PECDomain whose stack serves a domain.
func Host(d *v1alpha1.PECDomain) types.NamespacedName {
	host := d.Host()
	return types.NamespacedName{Namespace: host.Namespace, Name: host.Name}
}

// PreferredSite is the site that does for a domain what one site only may do: the one that serves it while both live. host is the
// domain whose stack serves it, nil when it is not there. "" is no preference. Pure.
func PreferredSite(d, host *v1alpha1.PECDomain) string {
	if host == nil {
		return d.Spec.PreferredSite
	}
	first := ""
	if m := host.Spec.Provider.Managed; m != nil && len(m.MailHosts) > 0 {
		first = slices.MinFunc(m.MailHosts, func(a, b v1alpha1.MailHost) int {
			return cmp.Compare(ptr.Deref(a.Preference, 0), ptr.Deref(b.Preference, 0))
		}).Site
	}
	return cmp.Or(d.Spec.PreferredSite, host.Spec.PreferredSite, first)
}

// Claimant is the PECDomain whose claim of a domain counts, of those in all namespaces; nil when nobody claims it.
func Claimant(ctx context.Context, cache client.Reader, domain string) (*v1alpha1.PECDomain, error) {
	var all v1alpha1.PECDomainList
	if err := cache.List(ctx, &all, client.MatchingFields{DomainName: domain}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing who claims domain %s: %w", domain, err)
	}
	return winner(all.Items), nil
}

// winner is the oldest claim of a domain; of two of the same second, the one whose namespace sorts first. Pure.
func winner(claims []v1alpha1.PECDomain) *v1alpha1.PECDomain {
	var first *v1alpha1.PECDomain
	for i := range claims {
		c := &claims[i]
		if first == nil || c.CreationTimestamp.Before(&first.CreationTimestamp) ||
			(c.CreationTimestamp.Equal(&first.CreationTimestamp) && c.Namespace < first.Namespace) {
			first = c
		}
	}
	return first
}

// Pool is the namespace and name of the PECDomain whose contract counts for a domain; false when it has no contract.
func Pool(d *v1alpha1.PECDomain) (types.NamespacedName, bool) {
	pool, ok := d.Pool()
	return types.NamespacedName{Namespace: pool.Namespace, Name: pool.Name}, ok
}

func domainName(o client.Object) []string { return []string{o.GetName()} }

func domainHost(o client.Object) []string { return []string{Key(Host(o.(*v1alpha1.PECDomain)))} }

func domainPool(o client.Object) []string {
	if pool, ok := Pool(o.(*v1alpha1.PECDomain)); ok {
		return []string{Key(pool)}
	}
	return nil
}

func mailboxDomain(o client.Object) []string {
	return []string{o.(*v1alpha1.Mailbox).Spec.DomainRef.Name}
}

func mailboxSecret(o client.Object) []string {
	return []string{o.(*v1alpha1.Mailbox).Spec.Credentials.SecretRef.Name}
}

func mailboxHeld(o client.Object) []string {
	m := o.(*v1alpha1.Mailbox)
	if meta.IsStatusConditionFalse(m.Status.Conditions, v1alpha1.ConditionAdmitted) {
		return []string{Key(types.NamespacedName{Namespace: m.Namespace, Name: m.Spec.DomainRef.Name})}
	}
	return nil
}

func migrationAddress(o client.Object) []string {
	m := o.(*v1alpha1.MailboxMigration)
	if m.Spec.Source.Type != v1alpha1.MigrationFromDomain {
		return nil // its mailboxes are another server's, though one here may have the same address
	}
	var out []string
	for _, box := range m.Spec.Mailboxes {
		out = append(out, m.Namespace+"/"+strings.ToLower(string(box.Address)))
	}
	return out
}

// Register adds the indexes to a cache; once, before it starts.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	for _, i := range []struct {
		object client.Object
		field  string
		values client.IndexerFunc
	}{
		{&v1alpha1.Mailbox{}, MailboxDomain, mailboxDomain},
		{&v1alpha1.Mailbox{}, MailboxSecret, mailboxSecret},
		{&v1alpha1.Mailbox{}, MailboxHeld, mailboxHeld},
		{&v1alpha1.PECDomain{}, DomainName, domainName},
		{&v1alpha1.PECDomain{}, DomainHost, domainHost},
		{&v1alpha1.PECDomain{}, DomainPool, domainPool},
		{&v1alpha1.MailboxMigration{}, MigrationAddress, migrationAddress},
	} {
		if err := indexer.IndexField(ctx, i.object, i.field, i.values); err != nil {
			return fmt.Errorf("indexing by %s: %w", i.field, err)
		}
	}
	return nil
}
