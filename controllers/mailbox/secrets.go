package mailbox

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	crreconcile "sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/pec-operator/pec-operator/api/v1alpha1"
	"github.com/pec-operator/pec-operator/controllers/refs"
)

// Secrets knows which Secrets of the listed namespaces exist and when they change, and nothing of what is in them: it asks for
// their metadata only, and of that keeps the name and the version. Annotations are dropped first of all: kubectl apply writes the
// whole Secret into one.
type Secrets struct {
	watches map[string]toolscache.SharedIndexInformer // by namespace
}

// WatchSecrets makes what watches the listed namespaces. Each is watched for itself: one without a Role holds up no other.
func WatchSecrets(c metadata.Interface, namespaces []string) (*Secrets, error) {
	s := &Secrets{watches: map[string]toolscache.SharedIndexInformer{}}
	secrets := corev1.SchemeGroupVersion.WithResource("secrets")
	for _, namespace := range namespaces {
		watch := metadatainformer.NewFilteredMetadataInformer(c, secrets, namespace, 0, toolscache.Indexers{}, notOthers).Informer()
		quiet := func(ctx context.Context, _ *toolscache.Reflector, err error) {
			logf.FromContext(ctx).V(4).Info("the Secrets of a namespace cannot be watched", "namespace", namespace, "error", err.Error())
		}
		if err := watch.SetTransform(bare); err != nil {
			return nil, fmt.Errorf("watching the Secrets of %s: %w", namespace, err)
		}
		if err := watch.SetWatchErrorHandlerWithContext(quiet); err != nil {
			return nil, fmt.Errorf("watching the Secrets of %s: %w", namespace, err)
		}
		s.watches[namespace] = watch
	}
	return s, nil
}

// notOthers leaves out the Secrets that other programs make in numbers, and that no mailbox names.
func notOthers(o *metav1.ListOptions) {
	o.FieldSelector = "type!=helm.sh/release.v1,type!=" + string(corev1.SecretTypeServiceAccountToken)
}

// bare is what is kept of a Secret's metadata. Pure.
func bare(o any) (any, error) {
	m, is := o.(*metav1.PartialObjectMetadata)
	if !is {
		return o, nil // the word that one is gone
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion}}, nil
}

// known is what is known of a Secret: nil before its namespace was listed, and where there is none.
func (s *Secrets) known(namespace, name string) *metav1.PartialObjectMetadata {
	watch := s.watches[namespace]
	if watch == nil || !watch.HasSynced() {
		return nil
	}
	o, there, err := watch.GetStore().GetByKey(namespace + "/" + name)
	if err != nil || !there {
		return nil
	}
	return o.(*metav1.PartialObjectMetadata)
}

// version names a Secret and the state of it, as far as that is known.
func (s *Secrets) version(namespace, name string) (version string, known bool) {
	if m := s.known(namespace, name); m != nil {
		return versionOf(m), true
	}
	return "", false
}

// resourceVersion is that state alone, "" where it is not known: whoever reads the Secret asks for nothing older.
func (s *Secrets) resourceVersion(namespace, name string) string {
	if m := s.known(namespace, name); m != nil {
		return m.ResourceVersion
	}
	return ""
}

func versionOf(o metav1.Object) string {
	return fmt.Sprintf("%s/%s@%s", o.GetUID(), o.GetName(), o.GetResourceVersion())
}

// watchSecrets wakes the mailboxes whose Secret became another.
func (r *Reconciler) watchSecrets(ctx context.Context, queue workqueue.TypedRateLimitingInterface[crreconcile.Request]) error {
	wake := func(o any) {
		if gone, is := o.(toolscache.DeletedFinalStateUnknown); is {
			o = gone.Obj
		}
		secret, is := o.(metav1.Object)
		if !is {
			return
		}
		for _, request := range r.listed(ctx, client.InNamespace(secret.GetNamespace()), client.MatchingFields{refs.MailboxSecret: secret.GetName()}) {
			queue.Add(request)
		}
	}
	for namespace, watch := range r.Secrets.watches {
		_, err := watch.AddEventHandler(toolscache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(o any, first bool) {
				if !first { // every mailbox is looked at when the operator starts
					wake(o)
				}
			},
			UpdateFunc: func(_, o any) { wake(o) },
			DeleteFunc: wake,
		})
		if err != nil {
			return fmt.Errorf("watching the Secrets of %s: %w", namespace, err)
		}
		go watch.RunWithContext(ctx)
	}
	return nil
}

// unread are the credentials that the row was made from, when their Secret is still the same: then it need not be read.
func (s *scope) unread() *credentials {
	ref := s.mailbox.Spec.Credentials.SecretRef
	version, known := s.Secrets.version(s.mailbox.Namespace, ref.Name)
	was := meta.FindStatusCondition(s.mailbox.Status.Conditions, v1alpha1.ConditionCredentialsValid)
	if version += "#" + ref.KeyOrDefault(); !s.has.There || !known || s.has.Mailbox.CredentialsVersion != version || was == nil || was.Status != metav1.ConditionTrue {
		return nil
	}
	s.True(was.Type, was.Reason, was.Message)
	return &credentials{version: version}
}
