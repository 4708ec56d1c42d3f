// Package index names the cache's field indexes, by which the kinds find each other without reading everything.
package index

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
)

const (
	// MailboxDomain finds Mailboxes by the name of their domain. The API server selects by it too.
	MailboxDomain = "spec.domainRef.name"
	// DomainName finds PECDomains by name in all namespaces.
	DomainName = "index.name"
	// DomainHost finds PECDomains by the namespace/name of the domain whose stack serves them.
	DomainHost = "index.host"
)

// Key is the value of DomainHost for a host.
func Key(host types.NamespacedName) string { return host.String() }

// Host is the namespace and name of the PECDomain whose stack serves a domain.
func Host(d *v1alpha1.PECDomain) types.NamespacedName {
	host := d.Host()
	return types.NamespacedName{Namespace: host.Namespace, Name: host.Name}
}

// Register adds the indexes to a cache; once, before it starts.
func Register(ctx context.Context, indexer client.FieldIndexer) error {
	err := indexer.IndexField(ctx, &v1alpha1.Mailbox{}, MailboxDomain, func(o client.Object) []string {
		return []string{o.(*v1alpha1.Mailbox).Spec.DomainRef.Name}
	})
	if err != nil {
		return fmt.Errorf("indexing mailboxes by domain: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.PECDomain{}, DomainName, func(o client.Object) []string { return []string{o.GetName()} })
	if err != nil {
		return fmt.Errorf("indexing domains by name: %w", err)
	}
	err = indexer.IndexField(ctx, &v1alpha1.PECDomain{}, DomainHost, func(o client.Object) []string {
		return []string{Key(Host(o.(*v1alpha1.PECDomain)))}
	})
	if err != nil {
		return fmt.Errorf("indexing domains by host: %w", err)
	}
	return nil
}
