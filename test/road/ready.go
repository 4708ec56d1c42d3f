package road

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// WaitReady waits until the operator and the stacks run the images at hand, and every PEC resource at both sites is Current in the
// eyes of kstatus, which is what GitOps tools ask. The images come first: after an upgrade the statuses are those of the former operator
// until the new one has looked.
func (r *Road) WaitReady(ctx context.Context, within time.Duration) error {
	return onEachSite(func(site string) error {
		return r.until(ctx, within, 500*time.Millisecond, func() error {
			if err := r.rolledOut(ctx, site, SystemNamespace, "deployment", r.env.Images.Operator); err != nil {
				return err
			}
			for _, d := range r.samples.managed() {
				if err := r.rolledOut(ctx, site, d.Namespace, "statefulset", r.env.Images.Mail); err != nil {
					return err
				}
			}
			return r.current(ctx, site)
		})
	})
}

// rolledOut says whether the one Deployment or StatefulSet of a namespace runs an image and is ready.
func (r *Road) rolledOut(ctx context.Context, site, namespace, kind, image string) error {
	out, err := r.Kubectl(ctx, site, "get", kind, "-n", namespace, "-o",
		`jsonpath={.items[0].spec.template.spec.containers[0].image} {.items[0].metadata.generation} {.items[0].status.observedGeneration} {.items[0].status.updatedReplicas} {.items[0].status.readyReplicas} {.items[0].status.replicas}`)
	if err != nil {
		return err
	}
	var running string
	var generation, observed, updated, ready, replicas int
	if _, err := fmt.Sscan(out, &running, &generation, &observed, &updated, &ready, &replicas); err != nil ||
		running != image || generation != observed || updated != 1 || ready != 1 || replicas != 1 {
		return fmt.Errorf("site %s: the %s of %s does not run %s yet", site, kind, namespace, image)
	}
	return nil
}

func (r *Road) current(ctx context.Context, site string) error {
	out, err := r.Kubectl(ctx, site, "get", "pec", "-A", "-o", "json")
	if err != nil {
		return err
	}
	var list unstructured.UnstructuredList
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return err
	}
	var waiting []string
	for _, object := range list.Items {
		result, err := status.Compute(&object)
		if err != nil {
			return err
		}
		if result.Status != status.CurrentStatus {
			waiting = append(waiting, fmt.Sprintf("%s %s is %s: %s", object.GetKind(), object.GetName(), result.Status, result.Message))
		}
	}
	if want := len(r.samples.Domains) + len(r.samples.Mailboxes); len(list.Items) < want {
		waiting = append(waiting, fmt.Sprintf("%d of %d resources are there", len(list.Items), want))
	}
	if len(waiting) > 0 {
		return fmt.Errorf("site %s: %s", site, strings.Join(waiting, "; "))
	}
	return nil
}
