// Package pecdomain makes a PECDomain real at this site: the mail stack of a Managed one, a place on its host's stack for a
// Hosted one, and for all, External ones too, an MX set that is right and nobody else's. Files: controller (wiring, the pass),
// phases by subject, status (facts to conditions), watches.
package pecdomain

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

const (
	// soon is the pause while something that the stack's pod or the peer does is awaited.
	soon = 2 * time.Second
	// later is the pause while all is well, or while a person must do something that we cannot watch.
	later = 15 * time.Second
)

// Reconciler makes PECDomains real at one site.
type Reconciler struct {
	*reconcile.Mechanism
	// Live reads past the cache: Secrets must not stand in our memory, and a cache over namespaces whose Role is missing
	// would never sync.
	Live client.Reader
	// Namespaces are those that the operator may work in.
	Namespaces reconcile.Namespaces
	// Authority signs the certificates of this site's engines.
	Authority *pki.Authority
	// Engines dials the engines of this site.
	Engines *engines.Pool
	// Peer reads the other site.
	Peer *peer.Peer
	// DNS is this site's view of the DNS.
	DNS *DNSView
	// Meter measures the services that were promised.
	Meter *ServiceMeter
	// Book says who is admitted under each contract.
	Book *contracts.Book
	// Stack is what the stacks of this site have in common.
	Stack stack.Settings

	mu       sync.Mutex                              // guards compared; what it points to is the domain's pass' alone, of which there is one at a time
	compared map[types.NamespacedName]*memoryOfSpecs // what is remembered of each domain's mailboxes
}

// scope is what the phases of one pass share.
type scope struct {
	*reconcile.Pass
	*Reconciler
	domain *v1alpha1.PECDomain
	// host is the domain whose stack serves this one; itself when Managed.
	host   types.NamespacedName
	engine *admin.Client // of host, once it is known to be one
	// heldDomains are those that the engine held when it was asked in this pass, and what was placed since.
	heldDomains []admin.Domain
	// receipts is the mail domain of the provider whose stack serves the domain.
	receipts string
	// ignored says that whoever owns the stack answers for the domain's records.
	ignored bool
	// elsewhere are the domains that the stack let go, with the namespace of the PECDomain that has them now.
	elsewhere map[string]string
	// engineStatus is what the engine answered in this pass.
	engineStatus admin.Status
	// peer is the other site's resource as it was read in this pass; nil when it could not be.
	peer *v1alpha1.PECDomain
	// specs are this site's Mailbox resources of the domain; nil where they were not read. apart is where the other site's differ.
	specs specs
	apart *apart
	// issue is how far cert-manager is with the certificate of the mail ports.
	issue issue
	// target, outlook, judged, cut and key are what this pass knows of the domain's records: what they should be, what is done about them,
	// where a change of provider stands, and the key to write with.
	target  *target
	outlook *outlook
	judged  judgement
	cut     *v1alpha1.CutOverStatus
	key     dns.Key
}

// roads are those of the provider types.
var roads = map[v1alpha1.ProviderType]reconcile.Road[*scope]{
	v1alpha1.ProviderManaged: {Table: managedTable, Phases: []reconcile.Phase[*scope]{
		digestMailboxes,
		observePeer,
		claimDomain,
		closeFirst,
		showEndpoints,
		measureService,
		observeDNS,
		honourContract,
		checkNamespace,
		keepCertificate,
		readSecrets,
		keepClaims,
		keepEngineSecret,
		applyStack,
		askEngine,
		judgeIndexAndSeals,
		placeDomain,
		letGo,
		closeRows,
		linkPeer,
		vouch,
		compareStores,
		settleDNS,
	}},
	v1alpha1.ProviderHosted: {Table: hostedTable, Phases: []reconcile.Phase[*scope]{
		digestMailboxes,
		observePeer,
		claimDomain,
		showEndpoints,
		measureService,
		observeDNS,
		honourContract,
		findHost,
		askEngine,
		placeDomain,
		settleDNS,
	}},
	v1alpha1.ProviderExternal: {Table: externalTable, Phases: []reconcile.Phase[*scope]{
		digestMailboxes,
		observePeer,
		claimDomain,
		showEndpoints,
		measureService,
		observeDNS,
		honourContract,
		settleDNS,
	}},
}

// Reconcile is one pass over one domain.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	domain := &v1alpha1.PECDomain{}
	if err := r.Client.Get(ctx, req.NamespacedName, domain); err != nil {
		r.DNS.forget(req.NamespacedName)
		r.forget(req.NamespacedName)
		r.Engines.Forget(req.NamespacedName)
		r.Book.Forget(req.NamespacedName)
		r.Meter.leave(req.NamespacedName)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !domain.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // its objects go with it, its claims and its mail stay
	}
	pass, active, err := r.Begin(ctx, domain)
	if err != nil || !active {
		r.watchOn(domain)
		return ctrl.Result{}, err
	}
	host := refs.Host(domain)
	s := &scope{Pass: pass, Reconciler: r, domain: domain, host: host, receipts: receiptsOf(domain), ignored: ignores(domain)}
	road := roads[domain.Spec.Provider.Type]
	result, err := reconcile.Walk(ctx, s, road.Phases...)
	if apierrors.IsForbidden(err) {
		err = reconcile.Waiting(later, v1alpha1.ConditionStackReady, v1alpha1.ReasonNamespaceNotGranted, r.Namespaces.Missing(domain.Namespace, err))
	}
	counts, countErr := s.countMailboxes(ctx)
	if err == nil {
		err = countErr
	}
	return r.With(road.Table).Finish(ctx, pass, result, err, func() { s.complete(counts) })
}
