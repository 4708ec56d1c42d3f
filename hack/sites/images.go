package main

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Images are built from the project's one Dockerfile by buildah and kept as files; no registry and no daemon takes part. Debian's own
// image, which the Dockerfile starts from, is made by mmdebstrap from the mirror that this machine uses already.

const (
	debianImage = "docker.io/library/debian:trixie-slim"
	debianSuite = "trixie"
)

// images are the project's two images: references with a content hash, so that a changed binary is another image and pods roll.
type images struct {
	Operator string `json:"operator"`
	Mail     string `json:"mail"`

	archives map[string]string // reference: file
}

// imageBuild is one image to make.
type imageBuild struct {
	reference string
	recipe    string // a Dockerfile
	target    string // a stage of it, "" for the last
	context   string // folder that COPY reads
	// behind is a recipe whose stages follow; its "COPY --from=extra" reads the folder extra.
	behind, extra string
}

// images builds what is missing in the cache.
func (w workshop) images(ctx context.Context) (images, error) {
	unlock, err := w.lock()
	if err != nil {
		return images{}, err
	}
	defer unlock()
	folder, err := w.binaries(ctx)
	if err != nil {
		return images{}, err
	}
	key, err := contentKey(w.dockerfile(), filepath.Join(folder, "pec-operator"), filepath.Join(folder, "pec-signer"))
	if err != nil {
		return images{}, err
	}
	if _, err := w.mailSystem(ctx); err != nil {
		return images{}, err
	}
	made := images{Operator: "pec-operator.dev/operator:" + key, Mail: "pec-operator.dev/mail:" + key, archives: map[string]string{}}
	for _, image := range []imageBuild{
		{reference: made.Mail, recipe: w.dockerfile(), target: "mail", context: folder}, {reference: made.Operator, recipe: w.dockerfile(), target: "operator", context: folder},
	} {
		if made.archives[image.reference], err = w.archive(ctx, image); err != nil {
			return images{}, err
		}
	}
	return made, nil
}

// extraImage makes one image more, for a test: the last stage of a recipe that follows the project's own and so may begin with its stages. It is
// named after the recipe's file, and its COPY --from=extra reads a folder.
func (w workshop) extraImage(ctx context.Context, recipe, extra string) (reference, archive string, err error) {
	unlock, err := w.lock()
	if err != nil {
		return "", "", err
	}
	defer unlock()
	folder, err := w.binaries(ctx)
	if err != nil {
		return "", "", err
	}
	files := []string{w.dockerfile(), recipe, filepath.Join(folder, "pec-operator"), filepath.Join(folder, "pec-signer")}
	err = filepath.WalkDir(extra, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return "", "", fmt.Errorf("reading what the image is to hold: %w", err)
	}
	key, err := contentKey(files...)
	if err != nil {
		return "", "", err
	}
	if _, err := w.mailSystem(ctx); err != nil {
		return "", "", err
	}
	name, _, _ := strings.Cut(filepath.Base(recipe), ".")
	image := imageBuild{reference: "pec-operator.dev/" + name + ":" + key, recipe: w.dockerfile(), context: folder, behind: recipe, extra: extra}
	archive, err = w.archive(ctx, image)
	return image.reference, archive, err
}

func (w workshop) dockerfile() string { return filepath.Join(w.root, "Dockerfile") }

// binaries builds the project's programs, alone in a folder that can be an image's build context. The one that uses an HSM needs a C compiler.
func (w workshop) binaries(ctx context.Context) (string, error) {
	folder := filepath.Join(w.cache, "context", fmt.Sprintf("%x", w.root))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	for _, b := range []struct{ name, from, cgo string }{{"pec-operator", ".", "0"}, {"pec-signer", "./signer", "1"}} {
		command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", filepath.Join(folder, b.name), b.from)
		command.Dir = w.root
		command.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if err := w.long("building "+b.name, command); err != nil {
			return "", err
		}
	}
	return folder, nil
}

// mailSystem makes the stage of the mail image that holds Debian's packages, once per Dockerfile: only the last, small layer differs
// from one binary to the next. It returns the stage's reference.
func (w workshop) mailSystem(ctx context.Context) (string, error) {
	reference, err := w.systemReference()
	if err != nil {
		return "", err
	}
	empty := filepath.Join(w.cache, "context", "empty") // the stage copies nothing
	if err := os.MkdirAll(empty, 0o755); err != nil {
		return "", err
	}
	system := imageBuild{reference: reference, recipe: w.dockerfile(), target: "mail-system", context: empty}
	if w.hasImage(ctx, system.reference) {
		return system.reference, nil
	}
	if !w.hasImage(ctx, debianImage) {
		if err := w.debian(ctx); err != nil {
			return "", err
		}
	}
	return system.reference, w.long("installing Postfix and Dovecot into the mail image", w.buildah(ctx, buildCommand(system)))
}

func (w workshop) systemReference() (string, error) {
	key, err := contentKey(w.dockerfile())
	return "pec-operator.dev/mail-system:" + key, err
}

func (w workshop) rootfsDir(system string) string {
	return filepath.Join(w.cache, "rootfs", strings.ReplaceAll(filepath.Base(system), ":", "-"))
}

// archive makes an image and returns its file, <cache>/images/<name>-<tag>.tar, a "docker save" archive.
func (w workshop) archive(ctx context.Context, image imageBuild) (string, error) {
	file := filepath.Join(w.cache, "images", strings.ReplaceAll(filepath.Base(image.reference), ":", "-")+".tar")
	if exists(file) {
		return file, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return "", err
	}
	_ = os.Remove(file + ".new") // buildah refuses to write over an archive
	script := buildCommand(image) + fmt.Sprintf(`
		buildah push --quiet %[1]s docker-archive:%[2]s.new:%[1]s
		buildah rmi %[1]s`, image.reference, file)
	if err := w.long("making image "+image.reference, w.buildah(ctx, script)); err != nil {
		return "", err
	}
	if err := os.Rename(file+".new", file); err != nil {
		return "", err
	}
	return file, forgetOldArchives(file)
}

// keptArchives is how many builds of one image the cache holds: a developer makes a new one with every change of the binary.
const keptArchives = 3

// forgetOldArchives removes the oldest archives of the image whose newest is given.
func forgetOldArchives(newest string) error {
	name, _, _ := strings.Cut(filepath.Base(newest), "-")
	files, err := filepath.Glob(filepath.Join(filepath.Dir(newest), name+"-*.tar"))
	if err != nil {
		return err
	}
	made := map[string]time.Time{}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		made[file] = info.ModTime()
	}
	slices.SortFunc(files, func(a, b string) int { return made[b].Compare(made[a]) })
	for _, file := range files[min(keptArchives, len(files)):] {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}

// mailRootfs unpacks the mail system and returns the folder, so that tests can ask trixie's own postconf and doveconf: chroot into it.
// /dev has the usual devices; /proc and /sys are not mounted.
func (w workshop) mailRootfs(ctx context.Context) (string, error) {
	unlock, err := w.lock()
	if err != nil {
		return "", err
	}
	defer unlock()
	system, err := w.mailSystem(ctx)
	if err != nil {
		return "", err
	}
	dir := w.rootfsDir(system)
	if exists(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	script := fmt.Sprintf(`
		rm -rf %[2]s.new
		container=$(buildah from --pull-never %[1]s)
		cp --archive "$(buildah mount "$container")" %[2]s.new
		buildah umount "$container"
		buildah rm "$container"
		for device in null:3 zero:5 full:7 random:8 urandom:9; do
			[ -c %[2]s.new/dev/${device%%:*} ] || mknod -m 666 %[2]s.new/dev/${device%%:*} c 1 ${device##*:}
		done`, system, dir)
	if err := w.long("unpacking the mail image", w.buildah(ctx, script)); err != nil {
		return "", err
	}
	return dir, os.Rename(dir+".new", dir)
}

func buildCommand(image imageBuild) string {
	target := ""
	if image.target != "" {
		target = "--target " + image.target
	}
	behind := ""
	if image.behind != "" {
		behind = fmt.Sprintf("--file %s --build-context extra=%s", image.behind, image.extra)
	}
	return fmt.Sprintf("buildah bud --layers --isolation chroot --pull-never %s %s --tag %s --file %s %s %s",
		ownLimits(), target, image.reference, image.recipe, behind, image.context)
}

// ownLimits keeps this process's limits for the commands of a Dockerfile: newer buildahs would raise them, which a root without
// CAP_SYS_RESOURCE may not. Older ones first lower the number of processes to what the kernel counts to, so no more may be asked for.
func ownLimits() string {
	most := map[int]uint64{unix.RLIMIT_NOFILE: math.MaxInt64, unix.RLIMIT_NPROC: pidMax()}
	var flags []string
	for _, l := range []struct {
		name     string
		resource int
	}{{"nofile", unix.RLIMIT_NOFILE}, {"nproc", unix.RLIMIT_NPROC}} {
		var limit unix.Rlimit
		if unix.Getrlimit(l.resource, &limit) == nil {
			flags = append(flags, fmt.Sprintf("--ulimit %s=%d:%d", l.name, min(limit.Cur, most[l.resource]), min(limit.Max, most[l.resource])))
		}
	}
	return strings.Join(flags, " ")
}

// pidMax is the number that the kernel counts processes to.
func pidMax() uint64 {
	raw, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return 32768
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(raw)), 10, 63)
	if err != nil {
		return 32768
	}
	return most
}

func (w workshop) hasImage(ctx context.Context, reference string) bool {
	return w.buildah(ctx, "buildah inspect --type image "+reference).Run() == nil
}

// buildah runs a shell script in which "buildah" works on the cache's own store. It has a mount namespace to itself, because buildah
// would leave a mount on its store behind, and a runtime folder that goes with the script.
func (w workshop) buildah(ctx context.Context, script string) *exec.Cmd {
	const frame = `set -eu
		runtime=$(mktemp --directory)
		trap 'rm -rf "$runtime"' EXIT
		buildah() { command buildah --storage-driver overlay --root "$STORE" --runroot "$runtime" "$@"; }
		`
	command := exec.CommandContext(ctx, "unshare", "--mount", "sh", "-c", frame+script)
	command.Env = append(os.Environ(), "STORE="+filepath.Join(w.cache, "buildah"))
	return command
}

// debian makes Debian's image for buildah.
func (w workshop) debian(ctx context.Context) error {
	release, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return err
	}
	targets, err := run(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return err
	}
	sources, err := debianSources(targets, codename(string(release)))
	if err != nil {
		return err
	}
	settings, err := run(ctx, "apt-config", "dump")
	if err != nil {
		return err
	}
	archive := filepath.Join(w.cache, "debian.tar")
	arguments := []string{"--mode=root", "--variant=minbase", "--format=tar"}
	for _, option := range transferOptions(settings) {
		arguments = append(arguments, "--aptopt="+option)
	}
	bootstrap := exec.CommandContext(ctx, "mmdebstrap", append(append(arguments, debianSuite, archive), sources...)...)
	if err := w.long("bootstrapping Debian "+debianSuite, bootstrap); err != nil {
		return err
	}
	defer os.Remove(archive)
	return w.long("keeping Debian as an image", w.buildah(ctx, fmt.Sprintf(`
		container=$(buildah from scratch)
		buildah add --quiet "$container" %s /
		buildah commit --quiet --rm "$container" %s`, archive, debianImage)))
}

// codename finds VERSION_CODENAME in an os-release text, "" if there is none.
func codename(release string) string {
	for line := range strings.Lines(release) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); found {
			return strings.Trim(value, `"`)
		}
	}
	return ""
}

// debianSources turns this machine's apt sources ("URI release component" lines) into the same mirrors' lines for the suite of the
// image: what the machine has for its own release, the image gets for its own.
func debianSources(targets, release string) ([]string, error) {
	var sources []string
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) != 3 || fields[2] != "main" {
			continue
		}
		suffix, found := strings.CutPrefix(fields[1], release)
		if found && release != "" && (suffix == "" || suffix == "-updates" || suffix == "-security") {
			sources = append(sources, fmt.Sprintf("deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s%s main", fields[0], debianSuite, suffix))
		}
	}
	if len(sources) == 0 {
		return nil, fmt.Errorf("finding a Debian mirror: apt has no source for Debian %q with component main: add one to /etc/apt and run apt-get update", release)
	}
	return sources, nil
}

// transferOptions are the machine's own settings of how apt reaches its mirrors (proxies above all), out of "apt-config dump".
func transferOptions(dump string) []string {
	var options []string
	for line := range strings.Lines(dump) {
		line = strings.TrimSpace(line)
		if (strings.HasPrefix(line, "Acquire::http::") || strings.HasPrefix(line, "Acquire::https::")) && !strings.HasSuffix(line, ` "";`) {
			options = append(options, strings.TrimSuffix(line, ";"))
		}
	}
	return options
}
