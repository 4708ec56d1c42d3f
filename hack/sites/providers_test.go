package main

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func balancer(name, ip string) corev1.Service {
	s := corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer},
	}
	if ip != "" {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: ip}}
	}
	return s
}

func TestAssign(t *testing.T) {
	pool := netip.MustParsePrefix("198.18.7.64/26")
	alone := assign([]corev1.Service{balancer("x", "")}, pool)["mail/x"]
	if !pool.Contains(alone) {
		t.Fatalf("a new service got %v, outside of %v", alone, pool)
	}
	for name, c := range map[string]struct {
		services []corev1.Service
		want     map[string]string
	}{
		"a service keeps what it holds":                          {[]corev1.Service{balancer("x", "198.18.7.99")}, map[string]string{"mail/x": "198.18.7.99"}},
		"an address of another pool is not kept":                 {[]corev1.Service{balancer("x", "198.18.7.200")}, map[string]string{"mail/x": alone.String()}},
		"its own first choice is left to the one who holds it":   {[]corev1.Service{balancer("x", ""), balancer("y", alone.String())}, map[string]string{"mail/x": nextIn(pool, alone).String(), "mail/y": alone.String()}},
		"of two that hold the same address only one does so":     {[]corev1.Service{balancer("y", alone.String()), balancer("x", alone.String())}, map[string]string{"mail/x": nextIn(pool, alone).String(), "mail/y": alone.String()}},
		"a service of another type has none":                     {[]corev1.Service{{ObjectMeta: metav1.ObjectMeta{Name: "c"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP}}}, map[string]string{}},
		"a service of another class is somebody else's business": {[]corev1.Service{ofClass(balancer("x", ""), "other")}, map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := assign(c.services, pool)
			if len(got) != len(c.want) {
				t.Fatalf("got %v, want %v", got, c.want)
			}
			for service, address := range c.want {
				if got[service].String() != address {
					t.Errorf("%s: got %v, want %s", service, got[service], address)
				}
			}
		})
	}
}

func TestAssignEndsWithThePool(t *testing.T) {
	pool := netip.MustParsePrefix("198.18.7.64/30")
	var services []corev1.Service
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		services = append(services, balancer(name, ""))
	}
	got := assign(services, pool)
	seen := map[netip.Addr]bool{}
	for _, address := range got {
		seen[address] = true
	}
	if len(got) != 4 || len(seen) != 4 {
		t.Errorf("five services and a pool of four: got %v", got)
	}
}

func nextIn(pool netip.Prefix, address netip.Addr) netip.Addr {
	if next := address.Next(); pool.Contains(next) {
		return next
	}
	return pool.Addr()
}

func ofClass(s corev1.Service, class string) corev1.Service {
	s.Spec.LoadBalancerClass = &class
	return s
}

func claimOf(uid, request, capacity string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "mail", Name: "data", UID: types.UID(uid)}}
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(request)}
	if capacity != "" {
		c.Status.Phase = corev1.ClaimBound
		c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(capacity)}
	}
	return c
}

func TestVolumes(t *testing.T) {
	volume := newVolume(claimOf("1", "1Gi", ""), "a")
	for name, c := range map[string]struct {
		claim        *corev1.PersistentVolumeClaim
		wantUID      string // "" if the volume fits
		wantCapacity string // of the claim's status, "" if it stays
	}{
		"a claim that has what it asked for":                   {claimOf("1", "1Gi", "1Gi"), "", ""},
		"a claim that is not bound yet":                        {claimOf("1", "1Gi", ""), "", ""},
		"a request that grew grows the volume and the status":  {claimOf("1", "3Gi", "1Gi"), "1", "3Gi"},
		"a claim made again gets the volume of its name":       {claimOf("2", "1Gi", ""), "2", ""},
		"a claim made again with less keeps the larger volume": {claimOf("2", "500Mi", ""), "2", ""},
	} {
		t.Run(name, func(t *testing.T) {
			fitted := fitVolume(volume, c.claim)
			if (fitted != nil) != (c.wantUID != "") || (fitted != nil && string(fitted.Spec.ClaimRef.UID) != c.wantUID) {
				t.Fatalf("fitVolume: got %v, want a volume for %q", fitted, c.wantUID)
			}
			if fitted == nil {
				fitted = volume
			}
			grown := growClaim(c.claim, fitted)
			if (grown != nil) != (c.wantCapacity != "") {
				t.Fatalf("growClaim: got %v, want %q", grown, c.wantCapacity)
			}
			if grown != nil && grown.Status.Capacity.Storage().String() != c.wantCapacity {
				t.Errorf("growClaim: got %s, want %s", grown.Status.Capacity.Storage(), c.wantCapacity)
			}
		})
	}
}

func TestVolumeNamesDoNotMeet(t *testing.T) {
	x := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a-b", Name: "c"}}
	y := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b-c"}}
	if volumeName(x) == volumeName(y) {
		t.Errorf("%s/%s and %s/%s share volume %s", x.Namespace, x.Name, y.Namespace, y.Name, volumeName(x))
	}
}
