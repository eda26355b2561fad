package main

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
)

const maintainer = "The ZeroPass maintainers <maintainers@zeropass.dev>"

// debianPackage is what one package is made of.
type debianPackage struct {
	name, description       string
	depends, recommends     []string
	suggests                []string
	contents                files.Contents
	postinst, prerm, postrm string
}

// serverPackage is zeropass-server, for whoever operates one.
func serverPackage(source string, b *build, notes string) debianPackage {
	here := func(name string) string { return filepath.Join(source, "packaging", name) }
	p := debianPackage{
		name: "zeropass-server",
		description: "server of ZeroPass\n" +
			"ZeroPass keeps secrets so that their owner can never lose them and nobody\n" +
			"else can take them. The server keeps one share of each, relays between\n" +
			"devices and referees their ledgers; alone it opens nothing.\n" +
			"\n" +
			"It keeps its data in a directory, or in PostgreSQL.",
		depends:    []string{"systemd | systemd-standalone-sysusers | systemd-sysusers"},
		recommends: []string{"ca-certificates"},
		suggests:   []string{"postgresql", "age", "prometheus"},
		postinst:   here("debian/postinst"),
		prerm:      here("debian/prerm"),
		postrm:     here("debian/postrm"),
	}
	p.program(b, notes, "zeropass-server")
	for _, unit := range []string{"zeropass-server.service", "zeropass-server-backup.service", "zeropass-server-backup.timer"} {
		p.file(here("systemd/"+unit), "/usr/lib/systemd/system/"+unit, 0o644)
	}
	p.file(here("systemd/zeropass-server.conf"), "/usr/lib/sysusers.d/zeropass-server.conf", 0o644)
	p.setting(here("systemd/server.toml"), "/etc/zeropass/server.toml")
	p.setting(here("systemd/backup-recipients"), "/etc/zeropass/backup-recipients")
	p.completions(notes, "zeropass-server")
	p.documents(notes, "zeropass-server")
	for _, name := range []string{"operations.md", "threat-model.md"} {
		p.file(filepath.Join(source, "docs", name), "/usr/share/doc/zeropass-server/"+name, 0o644)
	}
	p.file(here("prometheus/alerts.yml"), "/usr/share/doc/zeropass-server/examples/alerts.yml", 0o644)
	p.file(here("prometheus/prometheus.yml"), "/usr/share/doc/zeropass-server/examples/prometheus.yml", 0o644)
	p.file(here("debian/zeropass-server.lintian-overrides"), "/usr/share/lintian/overrides/zeropass-server", 0o644)
	p.file(here("debian/copyright"), "/usr/share/doc/zeropass-server/copyright", 0o644)
	return p
}

// devicePackage is zeropass, for devices.
func devicePackage(source string, b *build, notes string) debianPackage {
	p := debianPackage{
		name: "zeropass",
		description: "keep secrets so that they are never lost or taken\n" +
			"ZeroPass splits each secret between your device, a server and a backup. Any\n" +
			"two of the three open it, and one is worth nothing. The key to the backup is\n" +
			"split between people you trust, so that everything comes back after the loss\n" +
			"of every device.\n" +
			"\n" +
			"This package has the program for devices, zeropass, and zeropass-recover,\n" +
			"which brings an account back without the server.",
		suggests: []string{"gnome-keyring", "zeropass-server"},
	}
	p.program(b, notes, "zeropass")
	p.program(b, notes, "zeropass-recover")
	p.completions(notes, "zeropass")
	p.documents(notes, "zeropass")
	p.file(filepath.Join(source, "docs", "commands.md"), "/usr/share/doc/zeropass/commands.md", 0o644)
	p.file(filepath.Join(source, "docs", "specification.md"), "/usr/share/doc/zeropass/specification.md", 0o644)
	p.file(filepath.Join(source, "packaging/debian/zeropass.lintian-overrides"), "/usr/share/lintian/overrides/zeropass", 0o644)
	p.file(filepath.Join(source, "packaging/debian/copyright"), "/usr/share/doc/zeropass/copyright", 0o644)
	return p
}

func (p *debianPackage) file(source, destination string, mode os.FileMode) {
	p.contents = append(p.contents, &files.Content{Source: source, Destination: destination,
		FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode}})
}

// setting adds a conffile: what the operator changed in it stays (Debian Policy 10.7).
func (p *debianPackage) setting(source, destination string) {
	p.file(source, destination, 0o644)
	p.contents[len(p.contents)-1].Type = files.TypeConfig
}

// program adds a program with its manual and the licences of what is in it.
func (p *debianPackage) program(b *build, notes, name string) {
	p.file(b.program(name), "/usr/bin/"+name, 0o755)
	p.file(filepath.Join(notes, name+".1.gz"), "/usr/share/man/man1/"+name+".1.gz", 0o644)
	p.file(filepath.Join(notes, name+".licences.gz"), "/usr/share/doc/"+p.name+"/"+name+".licences.gz", 0o644)
}

func (p *debianPackage) completions(notes, name string) {
	for shell, destination := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/" + name,
		"zsh":  "/usr/share/zsh/vendor-completions/_" + name,
		"fish": "/usr/share/fish/vendor_completions.d/" + name + ".fish",
	} {
		p.file(filepath.Join(notes, name+"."+shell), destination, 0o644)
	}
}

func (p *debianPackage) documents(notes, name string) {
	p.file(filepath.Join(notes, "changelog.gz"), "/usr/share/doc/"+name+"/changelog.gz", 0o644)
	p.file(filepath.Join(notes, name+".debian.gz"), "/usr/share/doc/"+name+"/changelog.Debian.gz", 0o644)
}

// write makes the package in a directory, and returns the file's name.
func (p *debianPackage) write(dir string, b *build) (_ string, err error) {
	for _, c := range p.contents {
		c.FileInfo.MTime = b.time
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: p.name, Arch: b.arch, Platform: "linux",
		Version: debianVersion(b.version), VersionSchema: "none", Release: "1",
		Section: "utils", Priority: "optional", Maintainer: maintainer,
		Description: p.description, MTime: b.time, DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Depends: p.depends, Recommends: p.recommends, Suggests: p.suggests, Contents: p.contents,
			Scripts: nfpm.Scripts{PostInstall: p.postinst, PreRemove: p.prerm, PostRemove: p.postrm},
			Deb:     nfpm.Deb{Compression: "gzip"},
		},
	})
	if err := nfpm.Validate(info); err != nil {
		return "", err
	}
	name := deb.Default.ConventionalFileName(info)
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return name, deb.Default.Package(info, f)
}
