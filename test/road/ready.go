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

// WaitReady waits until every PEC resource at both sites is Current in the eyes of kstatus, which is what GitOps tools ask.
func (r *Road) WaitReady(ctx context.Context, within time.Duration) error {
	return onEachSite(func(site string) error {
		return until(ctx, within, 500*time.Millisecond, func() error { return r.current(ctx, site) })
	})
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
