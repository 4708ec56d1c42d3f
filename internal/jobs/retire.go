package jobs

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pec-operator/pec-operator/internal/jobs/worker"
)

// retiredFor is how long a Job that is over stays for people to look at, in seconds: a week.
const retiredFor = 7 * 24 * 60 * 60

// PlanOf is the plan with which the owner's Job was made, which may be older than the one that its owner would make now.
func (c *Cluster) PlanOf(ctx context.Context, p Plan) ([]byte, error) {
	config := &corev1.ConfigMap{}
	if err := c.Reader.Get(ctx, client.ObjectKey{Namespace: p.Namespace, Name: p.Name()}, config); err != nil {
		return nil, fmt.Errorf("reading the plan of Job %s/%s: %w", p.Namespace, p.Name(), err)
	}
	return []byte(config.Data[worker.PlanFile]), nil
}

// Retire lets the cluster remove a Job that is over, a week later, and with it what it needed: a Job a night would otherwise leave
// three objects a night. What came of it must be recorded before. It takes no right to delete.
func (c *Cluster) Retire(ctx context.Context, p Plan, job *batchv1.Job) error {
	owner := metav1.OwnerReference{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID}
	for _, object := range []client.Object{&corev1.ConfigMap{}, &corev1.Secret{}} {
		object.SetNamespace(p.Namespace)
		object.SetName(p.Name())
		patch := fmt.Appendf(nil, `{"metadata":{"ownerReferences":[{"apiVersion":%q,"kind":%q,"name":%q,"uid":%q}]}}`, owner.APIVersion, owner.Kind, owner.Name, owner.UID)
		err := c.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("leaving %T %s/%s to its Job: %w", object, p.Namespace, p.Name(), err)
		}
	}
	before := job.DeepCopy()
	job.Spec.TTLSecondsAfterFinished = ptr.To(int32(retiredFor))
	if err := c.Writer.Patch(ctx, job, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("retiring Job %s: %w", client.ObjectKeyFromObject(job), err)
	}
	return nil
}
