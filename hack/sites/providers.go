package main

import (
	"context"
	"log"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

// A site's providers stand where a cloud would: they look at the whole picture after every change and do what is missing.

// resync bounds how long a step that failed, or a change made behind the API's back, stays as it is.
const resync = 10 * time.Second

// provide hands out volumes and addresses until ctx ends.
func provide(ctx context.Context, s site) error {
	config, err := clientcmd.BuildConfigFromFlags("", configDir+"/admin.kubeconfig")
	if err != nil {
		return err
	}
	core, err := typed.NewForConfig(config)
	if err != nil {
		return err
	}
	volumes := volumeProvider{core: core, node: s.Name}
	addresses := addressProvider{core: core, pool: s.addresses.pool}
	go repeat(ctx, core, volumes.provide, map[string]runtime.Object{
		"persistentvolumes": &corev1.PersistentVolume{}, "persistentvolumeclaims": &corev1.PersistentVolumeClaim{},
	})
	repeat(ctx, core, addresses.provide, map[string]runtime.Object{"services": &corev1.Service{}})
	return ctx.Err()
}

// repeat calls step after every change of one of the resources, and every resync, until ctx ends. step may not wait for long.
func repeat(ctx context.Context, core *typed.CoreV1Client, step func(context.Context) error, resources map[string]runtime.Object) {
	changed := make(chan struct{}, 1)
	poke := func(any) {
		select {
		case changed <- struct{}{}:
		default: // a call is due already, and it will see this change too
		}
	}
	for resource, object := range resources {
		_, watch := cache.NewInformerWithOptions(cache.InformerOptions{
			ListerWatcher: cache.NewListWatchFromClient(core.RESTClient(), resource, "", fields.Everything()),
			ObjectType:    object,
			ResyncPeriod:  resync,
			Handler: cache.ResourceEventHandlerFuncs{
				AddFunc: poke, UpdateFunc: func(_, object any) { poke(object) }, DeleteFunc: poke,
			},
		})
		go watch.RunWithContext(ctx)
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		if err := step(ctx); err != nil && ctx.Err() == nil {
			log.Print(err)
		}
	}
}
