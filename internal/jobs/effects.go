package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/internal/admin"
	"github.com/pec-operator/pec-operator/internal/pki"
)

// ErrForeign is a Job, ConfigMap or Secret of the plan's name that was made for somebody else; it is left alone.
var ErrForeign = errors.New("made for another owner; rename or delete it")

// Cluster is where Jobs run. It reads past caches: what was made a moment ago must be seen.
type Cluster struct {
	Reader    client.Reader
	Writer    client.Client
	Authority *pki.Authority
	Site      string
	Now       func() time.Time
}

// Find answers the Job of a plan, nil when there is none. ErrForeign if it is another owner's.
func (c *Cluster) Find(ctx context.Context, p Plan) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	if err := c.get(ctx, p, job); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	return job, nil
}

// Ensure answers the plan's Job: the one that is there, or else a new one, suspended. What it needs is made before it, so that a
// Job that exists can always run.
func (c *Cluster) Ensure(ctx context.Context, p Plan) (*batchv1.Job, error) {
	if job, err := c.Find(ctx, p); job != nil || err != nil {
		return job, err
	}
	if err := c.make(ctx, p, p.ConfigMap(), &corev1.ConfigMap{}); err != nil {
		return nil, err
	}
	secret, err := c.certificate(p)
	if err != nil {
		return nil, err
	}
	if err := c.make(ctx, p, secret, &corev1.Secret{}); err != nil {
		return nil, err
	}
	job := p.Job()
	return job, c.make(ctx, p, job, &batchv1.Job{})
}

// URI is the identity that the pods of the plan's Job show to an engine.
func (c *Cluster) URI(p Plan) string { return admin.JobURI(c.Site, p.Namespace, p.Name()) }

// certificate is the Secret with which the pods of a Job are that Job.
func (c *Cluster) certificate(p Plan) (*corev1.Secret, error) {
	pair, err := c.Authority.Issue(pki.Leaf{URI: c.URI(p)}, c.Now())
	if err != nil {
		return nil, err
	}
	return &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: p.meta(), Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: pair.Cert, corev1.TLSPrivateKeyKey: pair.Key, "ca.crt": c.Authority.PEM},
	}, nil
}

// make creates an object unless the same owner's is there.
func (c *Cluster) make(ctx context.Context, p Plan, object, there client.Object) error {
	err := c.get(ctx, p, there)
	if !apierrors.IsNotFound(err) {
		return err
	}
	err = c.Writer.Create(ctx, object)
	if apierrors.IsAlreadyExists(err) {
		return c.get(ctx, p, there)
	}
	if err != nil {
		return fmt.Errorf("creating %T %s/%s: %w", object, p.Namespace, p.Name(), err)
	}
	return nil
}

func (c *Cluster) get(ctx context.Context, p Plan, into client.Object) error {
	key := client.ObjectKey{Namespace: p.Namespace, Name: p.Name()}
	if err := c.Reader.Get(ctx, key, into); err != nil {
		return fmt.Errorf("reading %T %s: %w", into, key, err)
	}
	for _, owner := range into.GetOwnerReferences() {
		if owner.UID == p.Owner.UID {
			return nil
		}
	}
	return fmt.Errorf("%T %s: %w", into, key, ErrForeign)
}

// Suspend stops or lets run a Job; its pods end by SIGTERM, and what they had done stays done.
func (c *Cluster) Suspend(ctx context.Context, job *batchv1.Job, suspend bool) error {
	if ptr.Deref(job.Spec.Suspend, false) == suspend {
		return nil
	}
	before := job.DeepCopy()
	job.Spec.Suspend = ptr.To(suspend)
	if err := c.Writer.Patch(ctx, job, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("setting suspend of Job %s to %t: %w", client.ObjectKeyFromObject(job), suspend, err)
	}
	return nil
}

// Look reads how far a Job is.
func (c *Cluster) Look(ctx context.Context, job *batchv1.Job) (State, error) {
	var pods corev1.PodList
	err := c.Reader.List(ctx, &pods, client.InNamespace(job.Namespace), client.MatchingLabels{batchv1.JobNameLabel: job.Name})
	if err != nil {
		return State{}, fmt.Errorf("listing the pods of Job %s: %w", client.ObjectKeyFromObject(job), err)
	}
	return StateOf(job, pods.Items), nil
}
