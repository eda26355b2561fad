package keystore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxtpm"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	recordv1 "zeropass.dev/zeropass/gen/zeropass/record/v1"
	"zeropass.dev/zeropass/signing"
)

// DefaultTPM is where Linux offers the TPM to several programs at once.
const DefaultTPM = "/dev/tpmrm0"

// SealTPM seals a device secret, 32 bytes, in the TPM at a path: that of a
// device, or of a Unix socket on which swtpm listens. An empty PIN is none.
func SealTPM(path string, secret, pin []byte) (*Record, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("keystore: a device secret of %d bytes, want %d", len(secret), SecretSize)
	}
	tpm, err := openTPM(path)
	if err != nil {
		return nil, err
	}
	defer tpm.Close()
	root, err := storageRootKey(tpm)
	if err != nil {
		return nil, err
	}
	defer root.flush(tpm)

	auth := authValue(pin)
	defer clear(auth)
	created, err := tpm2.Create{
		ParentHandle: root.authorize(nil, toTPM),
		InSensitive: tpm2.TPM2BSensitiveCreate{Sensitive: &tpm2.TPMSSensitiveCreate{
			UserAuth: tpm2.TPM2BAuth{Buffer: auth},
			Data:     tpm2.NewTPMUSensitiveCreate(&tpm2.TPM2BSensitiveData{Buffer: secret}),
		}},
		InPublic: tpm2.New2B(tpm2.TPMTPublic{
			Type:    tpm2.TPMAlgKeyedHash,
			NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{
				FixedTPM:     true,
				FixedParent:  true,
				UserWithAuth: true,
				// Without a PIN there is nothing to guess, and other programs' wrong
				// PINs must not shut this one out.
				NoDA: len(pin) == 0,
			},
		}),
	}.Execute(tpm)
	if err != nil {
		return nil, refused(err)
	}
	r := &Record{m: &recordv1.HomeKeystore{
		Kind:    recordv1.HomeKeystore_KIND_TPM,
		Parent:  root.name.Buffer,
		Public:  created.OutPublic.Bytes(),
		Private: created.OutPrivate.Buffer,
		Pin:     len(pin) > 0,
	}}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTPM, err)
	}
	return r, nil
}

func (r *Record) unseal(path string, pin []byte) ([]byte, error) {
	if r.NeedsPIN() && len(pin) == 0 {
		return nil, fmt.Errorf("%w: it is empty", ErrPIN)
	}
	tpm, err := openTPM(path)
	if err != nil {
		return nil, err
	}
	defer tpm.Close()
	root, err := storageRootKey(tpm)
	if err != nil {
		return nil, err
	}
	defer root.flush(tpm)
	// Clearing a TPM makes a new seed, and so a new storage root key. The
	// comparison also keeps a chip that somebody put in between from posing as
	// the one that the secret was sealed in: the session is salted with this key.
	if !bytes.Equal(root.name.Buffer, r.m.Parent) {
		return nil, ErrOtherTPM
	}
	loaded, err := tpm2.Load{
		ParentHandle: root.authorize(nil, toTPM),
		InPrivate:    tpm2.TPM2BPrivate{Buffer: r.m.Private},
		InPublic:     tpm2.BytesAs2B[tpm2.TPMTPublic](r.m.Public),
	}.Execute(tpm)
	if err != nil {
		return nil, refused(err)
	}
	defer flush(tpm, loaded.ObjectHandle)

	var auth []byte
	if r.NeedsPIN() {
		auth = authValue(pin)
		defer clear(auth)
	}
	item := root.authorize(auth, fromTPM)
	item.Handle, item.Name = loaded.ObjectHandle, loaded.Name
	unsealed, err := tpm2.Unseal{ItemHandle: item}.Execute(tpm)
	if err != nil {
		return nil, refused(err)
	}
	secret := unsealed.OutData.Buffer
	if len(secret) != SecretSize {
		clear(secret)
		return nil, fmt.Errorf("%w: it holds %d bytes, want %d", ErrRecord, len(secret), SecretSize)
	}
	return secret, nil
}

// authValue is what the TPM asks for: 128 bits of a hash of the PIN, in
// hexadecimal. So a PIN may be of any length, where the TPM takes 32 bytes, and
// no byte is zero: TPMs cut zeros off the end, and go-tpm 0.9.8 computes the
// session's HMAC key from what stands before the first zero, wherever that is.
// No PIN is no value.
func authValue(pin []byte) []byte {
	if len(pin) == 0 {
		return nil
	}
	hash := signing.NewContext("tpm-pin").Bytes(pin).Hash()
	return hex.AppendEncode(nil, hash[:16])
}

func openTPM(path string) (transport.TPMCloser, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTPM, err)
	}
	var tpm transport.TPMCloser
	if info.Mode()&os.ModeSocket != 0 {
		tpm, err = linuxudstpm.Open(path)
	} else {
		tpm, err = linuxtpm.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoTPM, err)
	}
	return tpm, nil
}

// rootKey is a TPM's storage root key, loaded.
type rootKey struct {
	handle tpm2.TPMHandle
	name   tpm2.TPM2BName
	public tpm2.TPMTPublic
}

// storageRootKey derives the storage root key, on the curve P-256 (TCG TPM v2.0
// Provisioning Guidance, section 7.5.1). A TPM derives the same one until it is
// cleared, so nothing of its small memory is taken for good.
func storageRootKey(tpm transport.TPM) (*rootKey, error) {
	created, err := tpm2.CreatePrimary{
		PrimaryHandle: tpm2.TPMRHOwner,
		InPublic:      tpm2.New2B(tpm2.ECCSRKTemplate),
	}.Execute(tpm)
	if errors.Is(err, tpm2.TPMRCBadAuth) || errors.Is(err, tpm2.TPMRCAuthFail) {
		return nil, fmt.Errorf("%w: its owner hierarchy has a password: %w", ErrTPM, err)
	} else if err != nil {
		return nil, refused(err)
	}
	root := &rootKey{handle: created.ObjectHandle}
	public, err := created.OutPublic.Contents()
	if err == nil {
		root.public = *public
		var name *tpm2.TPM2BName
		if name, err = tpm2.ObjectName(public); err == nil {
			root.name = *name
		}
	}
	if err != nil {
		root.flush(tpm)
		return nil, refused(err)
	}
	return root, nil
}

// What a session encrypts: the first parameter of a command, or of its answer.
var (
	toTPM   = tpm2.AESEncryption(128, tpm2.EncryptIn)
	fromTPM = tpm2.AESEncryption(128, tpm2.EncryptOut)
)

// authorize uses the key in one command, in a session of its own.
func (k *rootKey) authorize(auth []byte, encryption tpm2.AuthOption) tpm2.AuthHandle {
	return tpm2.AuthHandle{
		Handle: k.handle,
		Name:   k.name,
		Auth: tpm2.HMAC(tpm2.TPMAlgSHA256, 16, tpm2.Auth(auth),
			encryption, tpm2.Salted(k.handle, k.public)),
	}
}

func (k *rootKey) flush(tpm transport.TPM) { flush(tpm, k.handle) }

// flush frees what was loaded. If it cannot, the kernel does when the TPM is
// closed.
func flush(tpm transport.TPM, handle tpm2.TPMHandle) {
	_, _ = tpm2.FlushContext{FlushHandle: handle}.Execute(tpm)
}

// refused tells a TPM's answers apart (TPM 2.0 part 2, section 6.6.3).
func refused(err error) error {
	switch {
	case errors.Is(err, tpm2.TPMRCLockout):
		return fmt.Errorf("%w: %w", ErrLockedOut, err)
	case errors.Is(err, tpm2.TPMRCAuthFail), errors.Is(err, tpm2.TPMRCBadAuth):
		return fmt.Errorf("%w: %w", ErrPIN, err)
	}
	var code tpm2.TPMRC
	if errors.As(err, &code) {
		return fmt.Errorf("%w: %w", ErrTPM, err)
	}
	return fmt.Errorf("%w: %w", ErrNoTPM, err)
}
