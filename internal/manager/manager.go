// Package manager is the operator's role: it watches this site's resources and makes them real, and reads the other site's.
package manager

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/contracts"
	"github.com/pec-operator/pec-operator/controllers/mailbox"
	"github.com/pec-operator/pec-operator/controllers/mailboxmigration"
	"github.com/pec-operator/pec-operator/controllers/pecdomain"
	"github.com/pec-operator/pec-operator/controllers/refs"
	"github.com/pec-operator/pec-operator/controllers/retentionpolicy"
	"github.com/pec-operator/pec-operator/internal/dns"
	"github.com/pec-operator/pec-operator/internal/engines"
	"github.com/pec-operator/pec-operator/internal/jobs"
	"github.com/pec-operator/pec-operator/internal/peer"
	"github.com/pec-operator/pec-operator/internal/pki"
	"github.com/pec-operator/pec-operator/internal/reconcile"
	"github.com/pec-operator/pec-operator/internal/stack"
)

// Options are what an operator is started with.
type Options struct {
	Flags
	Hooks
}

// Flags are the role's.
type Flags struct {
	Site           string   // name of this building
	Namespace      string   // the operator's own: its Lease and its certificate authority
	Namespaces     []string // those with a Role
	MailImage      string   // what the mail stacks run
	PeerKubeconfig string   // file; "" is a site without a peer
	// StandIn is how long the preferred site must be silent before the other one acts in its place.
	StandIn        time.Duration
	LeaderElect    bool
	MetricsAddress string
	HealthAddress  string
	// DNSRoots are the root's servers; none given, the system's resolvers are asked for them.
	DNSRoots []netip.Addr
	// DNSInterval is how often a domain whose records are right is looked at.
	DNSInterval time.Duration
	// DNSOperator is this operator's name in owner texts.
	DNSOperator string
	// DNSProviders is a folder with the MX sets that known providers publish.
	DNSProviders string
	// ExternalInterval is how often a mailbox of another provider is looked at.
	ExternalInterval time.Duration
	// ExternalNetworks are those of ours in which other providers' servers may stand.
	ExternalNetworks []netip.Prefix
}

// Hooks are what has no flag: for tests, and for whoever runs the operator outside of a cluster. The zero value is what production has.
type Hooks struct {
	// EngineAddress answers where the engine of a domain is reached; nil is its Service.
	EngineAddress func(engines.Key) string
	// ServiceEvery is the time between two looks at a service; zero is half a minute, because an outage is counted in minutes.
	ServiceEvery time.Duration
	// UsageEvery is the time between two looks at a mailbox's use; zero is five minutes, because Dovecot opens the mailbox for each.
	UsageEvery time.Duration
	// Calendar is the clock of dated plans; nil is Now.
	Calendar func() time.Time
	// DNSDial replaces the network under the DNS.
	DNSDial func(ctx context.Context, network, address string) (net.Conn, error)
	// ExternalConnect and ExternalRoots replace the network to other providers, and their authorities.
	ExternalConnect func(ctx context.Context, network, address string) (net.Conn, error)
	ExternalRoots   *x509.CertPool
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Parse reads the role's flags.
func Parse(args []string) (Options, error) {
	var o Options
	var namespaces, roots, networks string
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.StringVar(&o.Site, "site", "", "name of this building, as in spec.provider.managed.mailHosts[].site")
	flags.StringVar(&o.Namespace, "namespace", "pec-system", "namespace of the operator itself")
	flags.StringVar(&namespaces, "namespaces", "", "comma-separated namespaces in which the operator has a Role")
	flags.StringVar(&o.MailImage, "mail-image", "", "image of the mail stacks")
	flags.StringVar(&o.PeerKubeconfig, "peer-kubeconfig", "", "file with a kubeconfig that reads the other site; empty for a single site")
	flags.DurationVar(&o.StandIn, "stand-in", 15*time.Minute, "how long the preferred site must be silent before this one writes records, migrates, watches and archives in its place")
	flags.BoolVar(&o.LeaderElect, "leader-elect", true, "hold a Lease, so that one of several replicas works")
	flags.StringVar(&o.MetricsAddress, "metrics-bind-address", ":8080", "where /metrics is served; 0 for nowhere")
	flags.StringVar(&o.HealthAddress, "health-probe-bind-address", ":8081", "where /healthz and /readyz are served; 0 for nowhere")
	flags.StringVar(&roots, "dns-roots", "", "comma-separated addresses of the DNS root's servers; empty to ask the system's resolvers for them")
	flags.DurationVar(&o.DNSInterval, "dns-interval", 24*time.Hour, "how often a domain whose records are right is looked at")
	flags.StringVar(&o.DNSOperator, "dns-operator-id", "", "name of this operator in owner texts, the same at both sites; without one no record is written")
	flags.StringVar(&o.DNSProviders, "dns-providers", "", "folder of files, named after providers, with the MX sets that they publish")
	flags.DurationVar(&o.ExternalInterval, "external-interval", 6*time.Hour, "how often a mailbox of an External domain is looked at over IMAP")
	flags.StringVar(&networks, "external-networks", "", "comma-separated networks, like 10.20.0.0/16, in which servers of External domains, of migrations' sources and of MTA-STS policies may stand; any other private address is refused")
	if err := flags.Parse(args); err != nil {
		return o, fmt.Errorf("reading the manager's flags: %w", err)
	}
	for text := range strings.FieldsFuncSeq(roots, func(r rune) bool { return r == ',' }) {
		root, err := netip.ParseAddr(text)
		if err != nil {
			return o, fmt.Errorf("reading the manager's flags: --dns-roots: %w", err)
		}
		o.DNSRoots = append(o.DNSRoots, root)
	}
	for text := range strings.FieldsFuncSeq(networks, func(r rune) bool { return r == ',' }) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return o, fmt.Errorf("reading the manager's flags: --external-networks: %w", err)
		}
		o.ExternalNetworks = append(o.ExternalNetworks, network)
	}
	o.Namespaces = strings.FieldsFunc(namespaces, func(r rune) bool { return r == ',' })
	return o, o.validate()
}

func (o Options) validate() error {
	switch {
	case o.Site == "":
		return errors.New("reading the manager's flags: --site is missing; name this building")
	case o.MailImage == "":
		return errors.New("reading the manager's flags: --mail-image is missing; name the image of the mail stacks")
	case o.DNSInterval < time.Second:
		return errors.New("reading the manager's flags: --dns-interval is too short; give at least 1s")
	case o.ExternalInterval < time.Minute:
		return errors.New("reading the manager's flags: --external-interval is too short for other people's servers; give at least 1m")
	case strings.ContainsAny(o.DNSOperator, ";=\" \t"):
		return errors.New("reading the manager's flags: --dns-operator-id may hold no blank, quotation mark, semicolon or equals sign")
	}
	return nil
}

// Run is the role: it ends when ctx does.
func Run(ctx context.Context, args []string) error {
	options, err := Parse(args)
	if err != nil {
		return err
	}
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, nil)))
	cluster, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding this cluster's API server: %w", err)
	}
	mgr, err := New(ctx, cluster, options)
	if err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the operator: %w", err)
	}
	return nil
}

// Scheme holds the kinds that the operator reads and writes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// New makes the operator of a site, ready to start. It needs this cluster's API server, never the peer's.
func New(ctx context.Context, cluster *rest.Config, o Options) (ctrl.Manager, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	cluster = rest.CopyConfig(cluster)
	cluster.QPS, cluster.Burst = 1000, 2000 // the API server's own fairness is what bounds us; this only stops a runaway
	authority, err := siteAuthority(ctx, cluster, o)
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(cluster, managerOptions(o))
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	if err := refs.Register(ctx, mgr.GetFieldIndexer()); err != nil {
		return nil, err
	}
	pool := engines.NewPool(o.Site, authority, o.Now, o.EngineAddress)
	sites := contracts.Sites{Own: o.Site, Peer: o.PeerKubeconfig != "", StandIn: o.StandIn}
	k := kinds{
		Options:   o,
		mgr:       mgr,
		authority: authority,
		pool:      pool,
		peer:      peer.New(o.PeerKubeconfig, mgr.GetScheme(), o.Now),
		book:      contracts.New(mgr.GetClient(), pool, sites, o.Now),
		work:      &jobs.Cluster{Reader: mgr.GetAPIReader(), Writer: mgr.GetClient(), Authority: authority, Site: o.Site, Now: o.Now},
	}
	if err := mgr.Add(k.peer); err != nil {
		return nil, fmt.Errorf("adding the peer's prober: %w", err)
	}
	return mgr, errors.Join(
		k.domains(ctx),
		k.mailboxes(),
		k.migrations(),
		k.policies(),
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("ping", healthz.Ping),
	)
}

// kinds is what the controllers of the four kinds share.
type kinds struct {
	Options
	mgr       ctrl.Manager
	authority *pki.Authority
	pool      *engines.Pool
	peer      *peer.Peer
	book      *contracts.Book
	work      *jobs.Cluster
}

func (k kinds) mechanism(kind string, now func() time.Time) *reconcile.Mechanism {
	return &reconcile.Mechanism{Kind: kind, Client: k.mgr.GetClient(), Recorder: k.mgr.GetEventRecorder("pec-operator"), Now: now}
}

func (k kinds) namespaces() reconcile.Namespaces {
	return reconcile.Namespaces{Own: k.Namespace, Granted: k.Namespaces}
}

func (k kinds) domains(ctx context.Context) error {
	view := (&pecdomain.DNSView{
		Observer:  &dns.Observer{Roots: k.DNSRoots, Dial: k.DNSDial, Now: k.Now},
		Interval:  k.DNSInterval,
		Operator:  k.DNSOperator,
		Providers: k.DNSProviders,
		StandIn:   k.StandIn,
		Networks:  k.ExternalNetworks,
		Ledger:    &pecdomain.WriteLedger{Live: k.mgr.GetAPIReader(), Client: k.mgr.GetClient(), Namespace: k.Namespace},
	}).Ready()
	if err := k.mgr.Add(view); err != nil {
		return fmt.Errorf("adding the DNS patrol: %w", err)
	}
	alive, err := watchLease(ctx, k.mgr, k.Options)
	if err != nil {
		return err
	}
	meter := &pecdomain.ServiceMeter{
		Live:   k.mgr.GetAPIReader(),
		Client: k.mgr.GetClient(),
		DNS:    view,
		Every:  cmp.Or(k.ServiceEvery, 30*time.Second),
		Alive:  alive,
		Now:    k.Now,
	}
	if err := k.mgr.Add(meter); err != nil {
		return fmt.Errorf("adding the meter of the services: %w", err)
	}
	return (&pecdomain.Reconciler{
		Mechanism:  k.mechanism("PECDomain", k.Now),
		Live:       k.mgr.GetAPIReader(),
		Namespaces: k.namespaces(),
		Authority:  k.authority,
		Engines:    k.pool,
		Book:       k.book,
		Peer:       k.peer,
		DNS:        view,
		Meter:      meter,
		Stack:      stack.Settings{Site: k.Site, Image: k.MailImage},
	}).SetupWithManager(k.mgr)
}

func (k kinds) mailboxes() error {
	secrets, err := watchSecrets(k.mgr.GetConfig(), k.Options)
	if err != nil {
		return err
	}
	poller := (&mailbox.ProviderPoller{
		Interval: k.ExternalInterval,
		Roots:    k.ExternalRoots,
		Networks: k.ExternalNetworks,
		Connect:  k.ExternalConnect,
		Now:      k.Now,
	}).Ready()
	if err := k.mgr.Add(poller); err != nil {
		return fmt.Errorf("adding the poller of other providers' mailboxes: %w", err)
	}
	return (&mailbox.Reconciler{
		Mechanism:  k.mechanism("Mailbox", k.Now),
		Live:       k.mgr.GetAPIReader(),
		Secrets:    secrets,
		Namespaces: k.namespaces(),
		Engines:    k.pool,
		Book:       k.book,
		Poller:     poller,
		Peer:       k.peer,
		Site:       k.Site,
		StandIn:    k.StandIn,
		UsageEvery: cmp.Or(k.UsageEvery, 5*time.Minute),
	}).SetupWithManager(k.mgr)
}

func (k kinds) migrations() error {
	return (&mailboxmigration.Reconciler{
		Mechanism:  k.mechanism("MailboxMigration", k.calendar()),
		Live:       k.mgr.GetAPIReader(),
		Namespaces: k.namespaces(),
		Engines:    k.pool,
		Jobs:       k.work,
		Image:      k.MailImage,
		Networks:   k.ExternalNetworks,
		Peer:       k.peer,
		Site:       k.Site,
		StandIn:    k.StandIn,
	}).SetupWithManager(k.mgr)
}

func (k kinds) policies() error {
	return (&retentionpolicy.Reconciler{
		Mechanism:  k.mechanism("RetentionPolicy", k.calendar()),
		Live:       k.mgr.GetAPIReader(),
		Namespaces: k.namespaces(),
		Engines:    k.pool,
		Jobs:       k.work,
		Image:      k.MailImage,
		Peer:       k.peer,
		Site:       k.Site,
		StandIn:    k.StandIn,
	}).SetupWithManager(k.mgr)
}

// calendar is the clock of dated plans.
func (k kinds) calendar() func() time.Time {
	if k.Calendar != nil {
		return k.Calendar
	}
	return k.Now
}

func watchSecrets(cluster *rest.Config, o Options) (*mailbox.Secrets, error) {
	c, err := metadata.NewForConfig(cluster)
	if err != nil {
		return nil, fmt.Errorf("making a client for metadata: %w", err)
	}
	return mailbox.WatchSecrets(c, o.Namespaces)
}

func managerOptions(o Options) ctrl.Options {
	ours := map[client.Object]cache.ByObject{
		&v1alpha1.PECDomain{}:        {},
		&v1alpha1.Mailbox{}:          {},
		&v1alpha1.MailboxMigration{}: {},
		&v1alpha1.RetentionPolicy{}:  {},
	}
	return ctrl.Options{
		Scheme:                        Scheme(),
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
		HealthProbeBindAddress:        o.HealthAddress,
		LeaderElection:                o.LeaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       o.Namespace,
		LeaderElectionReleaseOnCancel: true,
		// One process runs several operators only in tests; their metrics are nobody's concern.
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
		// Only our own kinds are cached: whatever else is read through this client is a mistake that must not become a watch.
		// Who wrote which field is nobody's question here, and takes a good part of the memory of ten thousand mailboxes.
		Cache: cache.Options{DefaultTransform: cache.TransformStripManagedFields(), ByObject: ours},
		NewCache: func(cluster *rest.Config, opts cache.Options) (cache.Cache, error) {
			opts.ReaderFailOnMissingInformer = true
			return cache.New(cluster, opts)
		},
	}
}
