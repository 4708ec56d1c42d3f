// Command sites runs two Kubernetes sites and an internet on one machine, for the demo and for tests. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

const usage = `usage: hack/sites/run [--instance NAME] COMMAND

  build                  build the servers of a site into the cache
  images                 build the project's images into the cache; prints their references as JSON
  rootfs                 unpack the mail image without our binary, for tests with the real Postfix and Dovecot; prints the folder
  up                     start both sites and the internet (builds first); may be repeated
  load                   build the images and import them into both sites, those that are missing
  extra RECIPE FOLDER    build one image more, the last stage of a recipe that follows the project's Dockerfile and copies from the folder by
                         "COPY --from=extra", and import it into both sites; prints its reference
  down                   end the instance and remove everything it had, data included
  cut SITE               cut the site off: no packet passes between it and the other site or the internet; this machine still reaches it
  restore SITE           join it again (so does the end of the instance)
  hold SITE SERVER       a server of the site ("kube-apiserver") is not started again once it has ended: then it is away, as long as is wanted
  release SITE SERVER    it is started again (so it is when the site starts)
  status                 say what runs
  env                    print addresses, paths and image references as JSON
  kubectl SITE -- ARGS   kubectl as the site's administrator
  exec SITE|internet -- COMMAND
                         run a command inside; /run, /var/lib and /var/log are the site's own there
  zone FILE...           publish DNS zones (files named <zone>.zone); a changed zone needs a higher serial; with <zone>.named beside it,
                         which holds named.conf's statements about the zone, it is published once and then takes updates

The instance is "demo" unless --instance or PEC_INSTANCE says otherwise. The cache is PEC_CACHE, or pec-operator in the user's cache folder.
`

func main() {
	name := flag.String("instance", "", "")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := dispatch(ctx, *name, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "sites:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("unknown command or wrong number of operands: see --help")

func dispatch(ctx context.Context, name string, arguments []string) error {
	if len(arguments) == 0 {
		flag.Usage()
		return errUsage
	}
	for _, fallback := range []string{os.Getenv("PEC_INSTANCE"), "demo"} {
		if name == "" {
			name = fallback
		}
	}
	i, err := newInstance(name)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces and containers need root: run this as root")
	}
	command, operands := arguments[0], arguments[1:]
	for _, set := range []func(context.Context, instance, string, []string) (bool, error){inside, lifecycle, failure, access} {
		if known, err := set(ctx, i, command, operands); known {
			return err
		}
	}
	return errUsage
}

// inside holds the commands by which the launcher starts itself.
func inside(ctx context.Context, i instance, command string, operands []string) (bool, error) {
	switch {
	case command == "supervise" && len(operands) == 0:
		return true, i.supervise(ctx)
	case command == "init" && len(operands) == 1:
		return true, initMachine(i, operands[0])
	case command == "serve" && len(operands) == 2:
		prefix, err := netip.ParsePrefix(operands[1])
		if err != nil {
			return true, err
		}
		if operands[0] == internet {
			return true, serveInternet(ctx)
		}
		return true, serveSite(ctx, i.site(operands[0], network{prefix}))
	}
	return false, nil
}

func lifecycle(ctx context.Context, i instance, command string, operands []string) (bool, error) {
	if len(operands) > 0 {
		return false, nil
	}
	switch command {
	case "build":
		return true, withWorkshop(func(w workshop) error {
			b, err := w.build(ctx)
			if err == nil {
				fmt.Println(b.Dir)
			}
			return err
		})
	case "images":
		return true, withWorkshop(func(w workshop) error {
			made, err := w.images(ctx)
			if err != nil {
				return err
			}
			return printJSON(made)
		})
	case "rootfs":
		return true, withWorkshop(func(w workshop) error {
			dir, err := w.mailRootfs(ctx)
			if err == nil {
				fmt.Println(dir)
			}
			return err
		})
	case "up":
		return true, withWorkshop(func(w workshop) error {
			b, err := w.build(ctx)
			if err != nil {
				return err
			}
			return i.up(ctx, b)
		})
	case "load":
		return true, withWorkshop(func(w workshop) error { return i.load(ctx, w) })
	case "down":
		return true, i.down(ctx)
	}
	return false, nil
}

// failure holds the commands that make a site fail and mend it.
func failure(ctx context.Context, i instance, command string, operands []string) (bool, error) {
	link := (command == "cut" || command == "restore") && len(operands) == 1
	if !link && (command != "hold" && command != "release" || len(operands) != 2) {
		return false, nil
	}
	if !slices.Contains(siteNames, operands[0]) {
		return true, fmt.Errorf("there is no site %q: the sites are %s", operands[0], strings.Join(siteNames, " and "))
	}
	if link {
		return true, i.setCut(ctx, operands[0], command == "cut")
	}
	return true, i.setHeld(operands[0], operands[1], command == "hold")
}

func access(ctx context.Context, i instance, command string, operands []string) (bool, error) {
	switch {
	case command == "status" && len(operands) == 0:
		return true, i.status(ctx)
	case command == "env" && len(operands) == 0:
		return true, withWorkshop(func(w workshop) error { return i.env(w) })
	case command == "extra" && len(operands) == 2:
		return true, withWorkshop(func(w workshop) error { return i.loadExtra(ctx, w, operands[0], operands[1]) })
	case command == "zone" && len(operands) > 0:
		return true, i.publish(ctx, operands)
	case (command == "kubectl" || command == "exec") && len(operands) > 1:
		rest := operands[1:]
		if rest[0] == "--" {
			rest = rest[1:]
		}
		return true, i.replaceBy(command, operands[0], rest)
	}
	return false, nil
}

// replaceBy turns this process into kubectl, or into a command inside a machine.
func (i instance) replaceBy(command, machine string, rest []string) error {
	if !slices.Contains(machineNames, machine) || (command == "kubectl" && machine == internet) {
		return fmt.Errorf("there is no %q to run %s in", machine, command)
	}
	var r record
	if err := readJSON(i.recordFile(), &r); err != nil {
		return fmt.Errorf("instance %s does not run (start it with \"up\"): %w", i.name, err)
	}
	argv := append([]string{filepath.Join(r.Binaries.Dir, "kubectl"), "--kubeconfig", i.kubeconfig(machine)}, rest...)
	environment := os.Environ()
	if command == "exec" {
		var err error
		if argv, err = i.enter(machine, rest...); err != nil {
			return err
		}
		argv[0] = "/usr/bin/nsenter"
		environment = append(environment, "PATH="+binDir+":"+os.Getenv("PATH"), "KUBECONFIG="+configDir+"/admin.kubeconfig")
	}
	return fmt.Errorf("running %s: %w", argv[0], syscall.Exec(argv[0], argv, environment))
}

func withWorkshop(work func(workshop) error) error {
	root, cache := os.Getenv("PEC_ROOT"), os.Getenv("PEC_CACHE")
	if root == "" || cache == "" {
		return errors.New("PEC_ROOT and PEC_CACHE are not set: call this program through hack/sites/run")
	}
	return work(workshop{root: root, cache: cache})
}
