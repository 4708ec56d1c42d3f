package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// load imports the project's images into both sites at once, and skips what is there. "env" tells which
// they are, so that everybody deploys what was loaded and not what the sources have become since.
func (i instance) load(ctx context.Context, w workshop) error {
	made, err := w.images(ctx)
	if err != nil {
		return err
	}
	if err := i.importAll(ctx, made.archives); err != nil {
		return err
	}
	return writeJSON(i.loadedFile(), made)
}

// loadExtra makes one image more, imports it into both sites and prints its reference.
func (i instance) loadExtra(ctx context.Context, w workshop, recipe, extra string) error {
	reference, archive, err := w.extraImage(ctx, recipe, extra)
	if err != nil {
		return err
	}
	if err := i.importAll(ctx, map[string]string{reference: archive}); err != nil {
		return err
	}
	fmt.Println(reference)
	return nil
}

// importAll imports images into both sites, by reference.
func (i instance) importAll(ctx context.Context, archives map[string]string) error {
	failures := make(chan error, len(siteNames))
	for _, name := range siteNames {
		go func() { failures <- i.loadInto(ctx, name, archives) }()
	}
	var failed []error
	for range siteNames {
		failed = append(failed, <-failures)
	}
	return errors.Join(failed...)
}

func (i instance) loadInto(ctx context.Context, site string, archives map[string]string) error {
	ctr := []string{"ctr", "--address", i.containerdSocket(site), "--namespace", "k8s.io", "images"}
	present, err := run(ctx, append(ctr, "list", "--quiet")...)
	if err != nil {
		return fmt.Errorf("listing the images of site %s: %w", site, err)
	}
	for reference, archive := range archives {
		if strings.Contains(present, reference+"\n") {
			continue
		}
		if _, err := run(ctx, append(ctr, "import", archive)...); err != nil {
			return fmt.Errorf("importing %s into site %s: %w", reference, site, err)
		}
	}
	return nil
}
