package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// startTimeout is how long a person waits for two sites before something must be wrong.
const startTimeout = 5 * time.Minute

// up makes the instance run with these binaries and returns when both sites serve. A running instance is left alone.
func (i instance) up(ctx context.Context, b binaries) error {
	launcher, err := os.Executable()
	if err != nil {
		return err
	}
	if err := i.ensureDaemon(ctx, launcher, b); err != nil {
		return err
	}
	return i.waitReady(ctx)
}

// ensureDaemon starts the instance unless it runs already with the same launcher and binaries.
func (i instance) ensureDaemon(ctx context.Context, launcher string, b binaries) error {
	unlock, err := lockInstances()
	if err != nil {
		return err
	}
	defer unlock()
	var r record
	known := readJSON(i.recordFile(), &r) == nil
	if known && i.alive() {
		if r.Launcher == launcher && r.Binaries == b {
			return nil
		}
		say("instance %s runs with an older launcher or older servers: starting it again, with its data", i.name)
	}
	if err := i.clear(ctx); err != nil {
		return err
	}
	n, err := i.chooseNetwork(ctx, r, known)
	if err != nil {
		return err
	}
	if err := writeJSON(i.recordFile(), record{Network: n.prefix, Launcher: launcher, Binaries: b}); err != nil {
		return err
	}
	for _, name := range siteNames {
		s := i.site(name, n)
		s.PauseImage = b.PauseImage
		if err := i.configure(s, time.Now()); err != nil {
			return fmt.Errorf("configuring site %s: %w", name, err)
		}
	}
	if err := i.configureInternet(n); err != nil {
		return fmt.Errorf("configuring the internet: %w", err)
	}
	if err := makeRoomForWatches(); err != nil {
		return err
	}
	if err := i.connect(ctx, n); err != nil {
		return err
	}
	return i.startDaemon(launcher)
}

// watchInstances is how many inotify instances the machine must allow root. A site takes about 20; the kernel's default of 128 would be
// used up by three instances, and then a kubelet does not start.
const watchInstances = 1024

// makeRoomForWatches raises the one limit of the kernel that no namespace holds. It stays raised: other programs may rely on it by then.
func makeRoomForWatches() error {
	const path = "/proc/sys/fs/inotify/max_user_instances"
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || limit >= watchInstances {
		return err
	}
	say("raising fs.inotify.max_user_instances from %d to %d until the machine restarts", limit, watchInstances)
	return os.WriteFile(path, []byte(strconv.Itoa(watchInstances)), 0o644)
}

// lockInstances lets one command at a time start or stop instances: two that start together must not choose the same network.
func lockInstances() (func(), error) {
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return nil, err
	}
	return lockFile("/run/lock/pec-sites")
}

// chooseNetwork keeps the network that the instance had: addresses are in its certificates and in its objects.
func (i instance) chooseNetwork(ctx context.Context, r record, known bool) (network, error) {
	taken, err := routes(ctx)
	if err != nil {
		return network{}, err
	}
	if known {
		if overlapsAny(r.Network, taken) {
			return network{}, fmt.Errorf("instance %s has network %s, which this machine now routes elsewhere: remove the instance with \"down\" first", i.name, r.Network)
		}
		return r.network(), nil
	}
	return chooseNetwork(i.name, append(taken, otherNetworks(i.name)...))
}

// otherNetworks are those of all other instances, also of the ones that are stopped and may come back.
func otherNetworks(name string) []netip.Prefix {
	records, _ := filepath.Glob(filepath.Join(stateRoot, "*", "instance.json"))
	var found []netip.Prefix
	for _, path := range records {
		var r record
		if filepath.Base(filepath.Dir(path)) != name && readJSON(path, &r) == nil {
			found = append(found, r.Network)
		}
	}
	return found
}

// startDaemon starts the supervisor, which outlives the caller: its own session, no terminal, no working directory to hold.
func (i instance) startDaemon(launcher string) error {
	output, err := os.OpenFile(i.daemonLog(), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	command := exec.Command(launcher, "--instance", i.name, "supervise")
	command.Stdout, command.Stderr, command.Dir = output, output, "/"
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return err
	}
	if err := command.Process.Release(); err != nil {
		return err
	}
	return waitFor(context.Background(), "the supervisor (see "+i.daemonLog()+")", 10*time.Second, i.supervised)
}

// supervise runs the machines of the instance until it is killed, and starts each again whenever it ends.
func (i instance) supervise(ctx context.Context) error {
	if err := joinCgroup(i.daemonGroup()); err != nil {
		return err
	}
	for _, machine := range machineNames {
		if err := os.MkdirAll(i.dir(machine, "log"), 0o755); err != nil {
			return err
		}
		go func() {
			output := &logFile{path: i.dir(machine, "log", "machine.log")}
			for {
				err := startMachine(ctx, i, machine, output)
				log.Printf("%s ended, starting it again: %v", machine, err)
				time.Sleep(time.Second)
			}
		}()
	}
	<-ctx.Done()
	return ctx.Err()
}

func (i instance) daemonGroup() string { return filepath.Join(i.cgroup(), "supervisor") }

// alive tells whether the instance's supervisor runs. Only the instance's own processes are in its group.
func (i instance) alive() bool { return len(members(i.daemonGroup())) > 0 }

func (i instance) supervised(context.Context) error {
	if !i.alive() {
		return fmt.Errorf("the supervisor of instance %s does not run", i.name)
	}
	return nil
}

// clear ends every process of the instance and removes its network and control groups; what is on disk stays.
func (i instance) clear(ctx context.Context) error {
	if err := killMembers(i.cgroup()); err != nil {
		return err
	}
	if err := i.disconnect(ctx); err != nil {
		return err
	}
	return removeCgroup(i.cgroup())
}

// down removes the instance altogether, its data included.
func (i instance) down(ctx context.Context) error {
	unlock, err := lockInstances()
	if err != nil {
		return err
	}
	defer unlock()
	if err := i.clear(ctx); err != nil {
		return err
	}
	if err := os.RemoveAll(i.dir()); err != nil {
		return err
	}
	_ = os.Remove(stateRoot) // succeeds when no other instance has anything there
	return nil
}

// waitReady returns when both sites serve and know their node, and the internet answers.
func (i instance) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	var r record
	if err := readJSON(i.recordFile(), &r); err != nil {
		return err
	}
	checks := map[string]func(context.Context) error{
		"the name server of the internet": func(ctx context.Context) error {
			_, err := askSerial(ctx, r.network().internet(), "")
			return err
		},
	}
	for _, name := range siteNames {
		client, err := adminClient(i.dir(name, "lib", "config", "pki"))
		if err != nil {
			return err
		}
		address := r.network().site(name).node.String()
		checks["the API of site "+name] = ready(client, "https://"+address+":6443/readyz")
		// Until it exists no pod can be made.
		checks["the default account of site "+name] = ready(client, "https://"+address+":6443/api/v1/namespaces/default/serviceaccounts/default")
		checks["the servers of site "+name] = i.serving(name)
		checks["the node of site "+name] = nodeReady(client, address, name)
		checks["the DNS of site "+name] = dialable(address + ":53")
	}
	for what, check := range checks {
		err := waitFor(ctx, what, startTimeout, func(ctx context.Context) error {
			if err := i.supervised(ctx); err != nil {
				return err
			}
			return check(ctx)
		})
		if err != nil {
			return fmt.Errorf("%w; the logs are in %s/*/log", err, i.dir())
		}
	}
	return nil
}

// serving checks that the site has started everything since it was last started itself: the API alone may still tell of the time before.
func (i instance) serving(site string) func(context.Context) error {
	return func(context.Context) error {
		_, err := os.Stat(i.dir(site, servingMark))
		return err
	}
}

func nodeReady(client *http.Client, address, node string) func(context.Context) error {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+":6443/api/v1/nodes/"+node, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			return err
		}
		if !strings.Contains(string(body), `"reason":"KubeletReady"`) {
			return fmt.Errorf("node %s is not ready", node)
		}
		return nil
	}
}
