package manager

import (
	"reflect"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cached says whether an operator keeps a cache of a kind, as every operator that acts on it does.
func Cached(kind string) bool {
	for o := range managerOptions(Options{}).Cache.ByObject {
		if nameOf(o) == kind {
			return true
		}
	}
	return false
}

func nameOf(o client.Object) string { return reflect.TypeOf(o).Elem().Name() }
