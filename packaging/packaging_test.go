package main

import (
	"archive/tar"
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// commit copies the work tree into a directory and makes one commit of it.
func commit(t *testing.T, dir string) {
	t.Helper()
	list, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join("..", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // deleted, and not committed yet
		}
		if err == nil {
			err = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}, {"commit", "-q", "-m", "everything"}} {
		c := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ada", "-c", "user.email=ada@zeropass.example", "-c", "commit.gpgsign=false"}, args...)...)
		c.Env = append(os.Environ(), "GIT_AUTHOR_DATE=2026-01-02T03:04:05Z", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
}

// What is built from one commit in two places is the same, and is what an operator
// installs.
func TestPackages(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "")
	first, second := filepath.Join(t.TempDir(), "here"), filepath.Join(t.TempDir(), "and", "elsewhere")
	commit(t, first)
	output(t, "git", "clone", "-q", first, second)
	dist, other := filepath.Join(first, "dist"), filepath.Join(second, "dist")
	for _, dir := range []string{first, second} {
		if err := pack(dir, filepath.Join(dir, "dist"), []string{runtime.GOARCH}); err != nil {
			t.Fatal(err)
		}
	}
	sums, again := read(t, filepath.Join(dist, "SHA256SUMS")), read(t, filepath.Join(other, "SHA256SUMS"))
	if sums != again || strings.Count(sums, "\n") != 3 {
		t.Errorf("two builds of one commit differ:\n%s%s", sums, again)
	}
	t.Run("server", func(t *testing.T) { testServerPackage(t, find(t, dist, "zeropass-server_*.deb")) })
	t.Run("device", func(t *testing.T) { testDevicePackage(t, find(t, dist, "zeropass_*.deb")) })
	t.Run("image", func(t *testing.T) { testImage(t, find(t, dist, "*.image.tar")) })
}

func testServerPackage(t *testing.T, file string) {
	listing := output(t, "dpkg-deb", "--contents", file)
	for _, want := range []string{
		`-rwxr-xr-x root/root +\d+ 2026-01-02 03:04 \./usr/bin/zeropass-server\n`,
		`-rw-r--r-- root/root +\d+ 2026-01-02 03:04 \./etc/zeropass/server.toml\n`,
		`\./etc/zeropass/backup-recipients\n`,
		`\./usr/lib/systemd/system/zeropass-server.service\n`,
		`\./usr/lib/systemd/system/zeropass-server-backup.service\n`,
		`\./usr/lib/systemd/system/zeropass-server-backup.timer\n`,
		`\./usr/lib/sysusers.d/zeropass-server.conf\n`,
		`\./usr/share/doc/zeropass-server/examples/alerts.yml\n`,
		`\./usr/share/doc/zeropass-server/copyright\n`,
	} {
		if !regexp.MustCompile(want).MatchString(listing) {
			t.Errorf("%s is not in\n%s", want, listing)
		}
	}
	for line := range strings.Lines(listing) {
		if !strings.Contains(line, " root/root ") || !strings.Contains(line, " 2026-01-02 03:04 ") {
			t.Errorf("in the package: %s", line)
		}
	}
	root := t.TempDir()
	output(t, "dpkg-deb", "--raw-extract", file, root)
	if have := read(t, filepath.Join(root, "DEBIAN/conffiles")); have != "/etc/zeropass/backup-recipients\n/etc/zeropass/server.toml\n" {
		t.Errorf("conffiles are %q", have)
	}
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		output(t, "sh", "-n", filepath.Join(root, "DEBIAN", script))
		if info, err := os.Stat(filepath.Join(root, "DEBIAN", script)); err != nil || info.Mode() != 0o755 {
			t.Errorf("%s: %v", script, err)
		}
		if regexp.MustCompile(`\brm\b.*(/var|\$)`).MatchString(read(t, filepath.Join(root, "DEBIAN", script))) {
			t.Errorf("%s deletes data", script)
		}
	}
	program := filepath.Join(root, "usr/bin/zeropass-server")
	static(t, program)
	verifyUnits(t, filepath.Join(root, "usr/lib/systemd/system"), program)
	if have, want := output(t, program, "version"), "zeropass-server v0.0.0-20260102030405-"; !strings.HasPrefix(have, want) {
		t.Errorf("the program says %q, not %s…", have, want)
	}
	if have := output(t, "dpkg-deb", "--field", file, "Version"); !strings.HasPrefix(have, "0.0.0~20260102030405.") {
		t.Errorf("the package says %q", have)
	}
	page := output(t, "zcat", filepath.Join(root, "usr/share/man/man1/zeropass-server.1.gz"))
	for _, section := range []string{`.SH "zeropass-server serve"`, `.SH "zeropass-server keys rotate"`, `\-\-admin\-listen`} {
		if !strings.Contains(page, section) {
			t.Errorf("the manual has no %s", section)
		}
	}
	licences := output(t, "zcat", filepath.Join(root, "usr/share/doc/zeropass-server/zeropass-server.licences.gz"))
	for _, module := range []string{"modernc.org/sqlite", "github.com/jackc/pgx/v5", "Go go1."} {
		if !strings.Contains(licences, "======== "+module) {
			t.Errorf("the licence of %s is not there", module)
		}
	}
}

// verifyUnits lets systemd read the units, with the program where it is here.
func verifyUnits(t *testing.T, from, program string) {
	t.Helper()
	verify := []string{"verify", "--man=no"}
	dir := t.TempDir()
	for _, unit := range []string{"zeropass-server.service", "zeropass-server-backup.service", "zeropass-server-backup.timer"} {
		text := strings.ReplaceAll(read(t, filepath.Join(from, unit)), "/usr/bin/zeropass-server", program)
		if err := os.WriteFile(filepath.Join(dir, unit), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		verify = append(verify, filepath.Join(dir, unit))
	}
	output(t, "systemd-analyze", verify...)
}

func testDevicePackage(t *testing.T, file string) {
	root := t.TempDir()
	output(t, "dpkg-deb", "--raw-extract", file, root)
	for _, name := range []string{"zeropass", "zeropass-recover"} {
		static(t, filepath.Join(root, "usr/bin", name))
		output(t, filepath.Join(root, "usr/bin", name), "--help")
	}
	page := output(t, "zcat", filepath.Join(root, "usr/share/man/man1/zeropass.1.gz"))
	for _, section := range []string{`.SH "zeropass init"`, `.SH "zeropass contact paper print"`} {
		if !strings.Contains(page, section) {
			t.Errorf("the manual has no %s", section)
		}
	}
	if _, err := os.Stat(filepath.Join(root, "DEBIAN/postinst")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the package of programs runs scripts: %v", err)
	}
}

func testImage(t *testing.T, file string) {
	image, err := tarball.ImageFromPath(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Config.User != "65532:65532" || config.Architecture != runtime.GOARCH || len(config.Config.Volumes) != 2 {
		t.Errorf("the image is for %s, as %s, with volumes %v", config.Architecture, config.Config.User, config.Config.Volumes)
	}
	content := mutate.Extract(image)
	defer content.Close()
	program := filepath.Join(t.TempDir(), "zeropass-server")
	seen := map[string]string{}
	for r := tar.NewReader(content); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		seen[h.Name] = h.FileInfo().Mode().String()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		switch h.Name {
		case "usr/bin/zeropass-server":
			if err := os.WriteFile(program, b, 0o755); err != nil {
				t.Fatal(err)
			}
		case "etc/ssl/certs/ca-certificates.crt":
			if n := bytes.Count(b, []byte("BEGIN CERTIFICATE")); n < 50 {
				t.Errorf("there are %d certificate authorities", n)
			}
		case "var/lib/zeropass", "var/lib/zeropass-keys":
			if h.Uid != imageUser {
				t.Errorf("%s belongs to %d", h.Name, h.Uid)
			}
		}
	}
	for name, mode := range map[string]string{"tmp": "dtrwxrwxrwx", "var/lib/zeropass-keys": "drwx------", "var/lib/zeropass": "drwx------"} {
		if seen[name] != mode {
			t.Errorf("%s is %q, not %s; there are %v", name, seen[name], mode, slices.Sorted(maps.Keys(seen)))
		}
	}
	static(t, program)
	// The image's environment is all that the server needs but for the certificate.
	check := exec.Command(program, "config", "check")
	check.Env = config.Config.Env
	out, err := check.CombinedOutput()
	if err == nil || !regexp.MustCompile(`(?m)^error: .*certificate`).Match(out) || !strings.Contains(string(out), `data = "/var/lib/zeropass" `) {
		t.Errorf("the settings of the image: %v\n%s", err, out)
	}
}

// static wants a program that needs no other file.
func static(t *testing.T, program string) {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Errorf("%s needs the system's loader", program)
		}
	}
}

func TestVersions(t *testing.T) {
	versions := []struct{ program, debian, tag string }{
		{"v0.0.0-20261123025843-9949fe7abcde", "0.0.0~20261123025843.9949fe7abcde", "0.0.0-20261123025843-9949fe7abcde"},
		{"v0.0.0-20261123025844-1949fe7abcde+dirty", "0.0.0~20261123025844.1949fe7abcde+dirty", "0.0.0-20261123025844-1949fe7abcde-dirty"},
		{"v1.3.0-rc.1", "1.3.0~rc.1", "1.3.0-rc.1"},
		{"v1.3.0", "1.3.0", "1.3.0"},
		{"v1.3.1-0.20261123025843-9949fe7abcde", "1.3.1~0.20261123025843.9949fe7abcde", "1.3.1-0.20261123025843-9949fe7abcde"},
		{"v1.3.1", "1.3.1", "1.3.1"},
	}
	for i, v := range versions {
		if debian, tag := debianVersion(v.program), imageTag(v.program); debian != v.debian || tag != v.tag {
			t.Errorf("%s is %s and %s", v.program, debian, tag)
		}
		if i > 0 {
			output(t, "dpkg", "--compare-versions", versions[i-1].debian, "lt", v.debian)
		}
	}
}

// Every metric that an alert asks for is one that the guide explains.
func TestAlertsNameMetrics(t *testing.T) {
	guide := read(t, "../docs/operations.md")
	names := regexp.MustCompile(`zeropass_\w+`).FindAllString(read(t, "prometheus/alerts.yml"), -1)
	if len(names) < 10 {
		t.Errorf("there are %d", len(names))
	}
	for _, name := range names {
		if !regexp.MustCompile("(?m)^\\| `" + strings.TrimSuffix(name, "_bucket") + "[`{]").MatchString(guide) {
			t.Errorf("operations.md has no metric %s", name)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func find(t *testing.T, dir, pattern string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(files) != 1 {
		t.Fatalf("%s: %v, %v", pattern, files, err)
	}
	return files[0]
}

// output runs a command that is to succeed.
func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing; make test installs it", name)
	}
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
