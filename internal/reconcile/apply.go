package reconcile

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldOwner is the one field manager under which this operator writes objects.
const FieldOwner = client.FieldOwner("pec-operator")

// appliedAnnotation holds a hash of what was applied last. Without it a field that we no longer want would look as good as
// one that somebody else owns, and would stay.
const appliedAnnotation = "pec-operator.dev/applied"

// Apply makes the cluster hold the desired object by server-side apply, and answers what is there afterwards. It reads
// first, live, and writes only when the live object does not cover the desired one: a quiet pass writes nothing.
// desired must carry its apiVersion and kind; its status is ignored.
func Apply(ctx context.Context, reader client.Reader, writer client.Client, desired client.Object) (*unstructured.Unstructured, error) {
	want, err := applyShape(desired)
	if err != nil {
		return nil, err
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(want.GroupVersionKind())
	err = reader.Get(ctx, client.ObjectKeyFromObject(want), live)
	switch {
	case err == nil && Covers(live.Object, want.Object):
		return live, nil
	case err != nil && !apierrors.IsNotFound(err):
		return nil, fmt.Errorf("reading %s %s: %w", want.GetKind(), client.ObjectKeyFromObject(want), err)
	}
	return want, Write(ctx, writer, want)
}

// Write is the server-side apply of an object, whatever is there; for what must not be compared, like a Secret.
func Write(ctx context.Context, writer client.Client, want *unstructured.Unstructured) error {
	err := writer.Apply(ctx, client.ApplyConfigurationFromUnstructured(want), FieldOwner, client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("applying %s %s: %w", want.GetKind(), client.ObjectKeyFromObject(want), err)
	}
	return nil
}

// applyShape is the object as it is sent: no status, nothing empty that would claim a field, and the hash of the rest.
func applyShape(desired client.Object) (*unstructured.Unstructured, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", client.ObjectKeyFromObject(desired), err)
	}
	want := &unstructured.Unstructured{Object: content}
	delete(want.Object, "status")
	dropNulls(want.Object)
	raw, err := json.Marshal(want.Object)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", client.ObjectKeyFromObject(desired), err)
	}
	sum := sha256.Sum256(raw)
	annotations := want.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[appliedAnnotation] = hex.EncodeToString(sum[:8])
	want.SetAnnotations(annotations)
	return want, nil
}

// dropNulls removes the nulls that typed objects leave behind (creationTimestamp: null): applied, they would claim the field.
func dropNulls(m map[string]any) {
	for k, v := range m {
		switch v := v.(type) {
		case nil:
			delete(m, k)
		case map[string]any:
			dropNulls(v)
		case []any:
			for _, item := range v {
				if child, ok := item.(map[string]any); ok {
					dropNulls(child)
				}
			}
		}
	}
}

// Covers says whether everything in desired is in live with the same value. Live may hold more: the API server's defaults,
// and what others own. Lists must agree item by item, because a shorter one would be another list. Pure.
func Covers(live, desired any) bool {
	switch want := desired.(type) {
	case map[string]any:
		have, ok := live.(map[string]any)
		if !ok {
			return len(want) == 0 && live == nil
		}
		for k, v := range want {
			if !Covers(have[k], v) {
				return false
			}
		}
		return true
	case []any:
		have, ok := live.([]any)
		if !ok {
			return len(want) == 0 && live == nil
		}
		if len(have) != len(want) {
			return false
		}
		for i := range want {
			if !Covers(have[i], want[i]) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(live, desired)
}
