package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
)

// addressProvider gives each Service of type LoadBalancer an address of the site's pool and puts it on the site's interface, where the
// wire finds it. kube-proxy does the rest.
type addressProvider struct {
	core *typed.CoreV1Client
	pool netip.Prefix
}

func (p addressProvider) provide(ctx context.Context) error {
	services, err := p.core.Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing services: %w", err)
	}
	wanted := assign(services.Items, p.pool)
	used := map[netip.Addr]bool{}
	for _, address := range wanted {
		used[address] = true
	}
	// The address answers before anybody is told of it.
	if err := p.configure(ctx, used); err != nil {
		return err
	}
	var failed []error
	for n := range services.Items {
		service := &services.Items[n]
		address, found := wanted[service.Namespace+"/"+service.Name]
		if !found && isOurs(service) {
			failed = append(failed, fmt.Errorf("no address of %s is left for service %s/%s", p.pool, service.Namespace, service.Name))
		}
		if !found || holds(service, address) {
			continue
		}
		if err := p.announce(ctx, service, address); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (p addressProvider) announce(ctx context.Context, service *corev1.Service, address netip.Addr) error {
	updated := service.DeepCopy()
	updated.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: address.String()}}
	if _, err := p.core.Services(service.Namespace).UpdateStatus(ctx, updated, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("announcing %s for service %s/%s: %w", address, service.Namespace, service.Name, err)
	}
	return nil
}

// configure makes the pool's addresses on the interface exactly those that are used.
func (p addressProvider) configure(ctx context.Context, used map[netip.Addr]bool) error {
	present, err := p.present(ctx)
	if err != nil {
		return err
	}
	for address := range used {
		if !present[address] {
			if _, err := run(ctx, "ip", "addr", "add", address.String()+"/32", "dev", "eth0"); err != nil {
				return err
			}
		}
	}
	for address := range present {
		if !used[address] {
			if _, err := run(ctx, "ip", "addr", "delete", address.String()+"/32", "dev", "eth0"); err != nil {
				return err
			}
		}
	}
	return nil
}

// present are the pool's addresses that the interface has now.
func (p addressProvider) present(ctx context.Context) (map[netip.Addr]bool, error) {
	text, err := run(ctx, "ip", "-json", "addr", "show", "dev", "eth0")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Addresses []struct {
			Local string `json:"local"`
		} `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(text), &links); err != nil {
		return nil, fmt.Errorf("reading the addresses of eth0: %w", err)
	}
	found := map[netip.Addr]bool{}
	for _, link := range links {
		for _, entry := range link.Addresses {
			if address, err := netip.ParseAddr(entry.Local); err == nil && p.pool.Contains(address) {
				found[address] = true
			}
		}
	}
	return found, nil
}

// assign gives every LoadBalancer Service an address of the pool, by "namespace/name". What a Service holds already it keeps; a new one
// gets the address that its name points at, or the next free one, so that the same Services have the same addresses in every run.
// A Service for which none is left is missing from the result.
func assign(services []corev1.Service, pool netip.Prefix) map[string]netip.Addr {
	result := map[string]netip.Addr{}
	taken := map[netip.Addr]bool{}
	for n := range services {
		if address, ok := held(&services[n], pool); ok && !taken[address] {
			result[services[n].Namespace+"/"+services[n].Name], taken[address] = address, true
		}
	}
	for n := range services {
		name := services[n].Namespace + "/" + services[n].Name
		if _, done := result[name]; done || !isOurs(&services[n]) {
			continue
		}
		if address, ok := firstFree(name, pool, taken); ok {
			result[name], taken[address] = address, true
		}
	}
	return result
}

func isOurs(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.Spec.LoadBalancerClass == nil && service.DeletionTimestamp == nil
}

func held(service *corev1.Service, pool netip.Prefix) (netip.Addr, bool) {
	if !isOurs(service) || len(service.Status.LoadBalancer.Ingress) != 1 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(service.Status.LoadBalancer.Ingress[0].IP)
	return address, err == nil && pool.Contains(address)
}

func holds(service *corev1.Service, address netip.Addr) bool {
	ingress := service.Status.LoadBalancer.Ingress
	return len(ingress) == 1 && ingress[0].IP == address.String()
}

func firstFree(name string, pool netip.Prefix, taken map[netip.Addr]bool) (netip.Addr, bool) {
	size := uint32(1) << (32 - pool.Bits())
	hash := fnv.New32a()
	hash.Write([]byte(name))
	first := pool.Masked().Addr().As4()
	for n := range size {
		var bytes [4]byte
		binary.BigEndian.PutUint32(bytes[:], binary.BigEndian.Uint32(first[:])+(hash.Sum32()+n)%size)
		if address := netip.AddrFrom4(bytes); !taken[address] {
			return address, true
		}
	}
	return netip.Addr{}, false
}
