package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// Nobody else has these ids on a machine that runs containers without a user
// namespace: 65532 is what images without a distribution use.
const imageUser = 65532

// writeImage makes an image from nothing: the server, the certificate authorities
// that mail, webhooks and ACME need, and a user. It returns the name of the archive,
// which docker load and podman load read.
func writeImage(dir string, b *build, notes string) (_ string, err error) {
	content, err := imageFiles(b, notes)
	if err != nil {
		return "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return "", err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return "", err
	}
	if image, err = mutate.ConfigFile(image, imageConfig(b, image)); err != nil {
		return "", err
	}
	tag, err := name.NewTag("zeropass-server:" + imageTag(b.version))
	if err != nil {
		return "", err
	}
	file := "zeropass-server_" + imageTag(b.version) + "_" + b.arch + ".image.tar"
	f, err := os.Create(filepath.Join(dir, file))
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return file, tarball.Write(tag, image, f)
}

// imageConfig says how the image is run. The port for devices is what the operator
// publishes; the pages for operators are for the container's own network alone.
func imageConfig(b *build, image v1.Image) *v1.ConfigFile {
	layers, err := image.ConfigFile()
	if err != nil {
		panic(err) // it was made in this process
	}
	config := layers.DeepCopy()
	config.Architecture, config.OS = b.arch, "linux"
	config.Created = v1.Time{Time: b.time}
	config.Author = ""
	for i := range config.History {
		config.History[i] = v1.History{Created: v1.Time{Time: b.time}, CreatedBy: "packaging", Comment: "zeropass-server " + b.version}
	}
	config.Config = v1.Config{
		User:       "65532:65532",
		WorkingDir: "/var/lib/zeropass",
		Entrypoint: []string{"/usr/bin/zeropass-server"},
		Cmd:        []string{"serve"},
		Env: []string{
			"PATH=/usr/bin",
			"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
			"ZEROPASS_SERVER_DATA=/var/lib/zeropass",
			"ZEROPASS_SERVER_KEY_FILE=/var/lib/zeropass-keys/server-keys",
			"ZEROPASS_SERVER_LISTEN=:8440",
			"ZEROPASS_SERVER_ADMIN_LISTEN=127.0.0.1:9440",
			"ZEROPASS_SERVER_REGISTRATION=token",
		},
		ExposedPorts: map[string]struct{}{"8440/tcp": {}},
		Volumes:      map[string]struct{}{"/var/lib/zeropass": {}, "/var/lib/zeropass-keys": {}},
		StopSignal:   "SIGTERM",
		Labels: map[string]string{
			"org.opencontainers.image.title":       "zeropass-server",
			"org.opencontainers.image.description": "The server of ZeroPass",
			"org.opencontainers.image.version":     imageTag(b.version),
			"org.opencontainers.image.created":     b.time.Format(time.RFC3339),
		},
	}
	return config
}

// imageFiles is the image's one layer, a tar archive.
func imageFiles(b *build, notes string) ([]byte, error) {
	program, err := os.ReadFile(b.program("zeropass-server"))
	if err != nil {
		return nil, err
	}
	licences, err := os.ReadFile(filepath.Join(notes, "zeropass-server.licences.gz"))
	if err != nil {
		return nil, err
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range []struct {
		name    string
		mode    int64
		owner   int
		content []byte
	}{
		{"etc/", 0o755, 0, nil},
		{"etc/group", 0o644, 0, []byte("root:x:0:\nzeropass:x:65532:\n")},
		{"etc/passwd", 0o644, 0, []byte("root:x:0:0:root:/:/\nzeropass:x:65532:65532:ZeroPass server:/var/lib/zeropass:/\n")},
		{"etc/ssl/", 0o755, 0, nil},
		{"etc/ssl/certs/", 0o755, 0, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, 0, authorities()},
		{"etc/zeropass/", 0o755, 0, nil},
		{"tmp/", 0o1777, 0, nil},
		{"usr/", 0o755, 0, nil},
		{"usr/bin/", 0o755, 0, nil},
		{"usr/bin/zeropass-server", 0o755, 0, program},
		{"usr/share/", 0o755, 0, nil},
		{"usr/share/doc/", 0o755, 0, nil},
		{"usr/share/doc/zeropass-server/", 0o755, 0, nil},
		{"usr/share/doc/zeropass-server/zeropass-server.licences.gz", 0o644, 0, licences},
		{"var/", 0o755, 0, nil},
		{"var/lib/", 0o755, 0, nil},
		{"var/lib/zeropass/", 0o700, imageUser, nil},
		{"var/lib/zeropass-keys/", 0o700, imageUser, nil},
	} {
		header := &tar.Header{Name: e.name, Mode: e.mode, Uid: e.owner, Gid: e.owner, ModTime: b.time, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
		if e.content == nil {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.content); err != nil {
			return nil, err
		}
	}
	return buf.Bytes(), w.Close()
}

// authorities are Mozilla's, as Go's developers publish them. Those that are only to
// be trusted under conditions, which a PEM file cannot say, are left out.
func authorities() []byte {
	var all bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			if err := pem.Encode(&all, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
				panic(err) // it goes into memory
			}
		}
	}
	return all.Bytes()
}
