package device

import (
	"encoding/json"
	"errors"
	"fmt"

	"zeropass.dev/zeropass/home"
)

// What a device remembers beside the ledger, and nobody else needs to read, is
// JSON in sealed files of the directory private.

// load reads a small private file; nil if there is none.
func load[T any](d *Device, name string) (*T, error) {
	b, err := d.home.Private(name)
	if errors.Is(err, home.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer clear(b)
	v := new(T)
	if err := json.Unmarshal(b, v); err != nil {
		return nil, fmt.Errorf("device: private/%s: %w", name, err)
	}
	return v, nil
}

// save writes a small private file.
func (d *Device) save(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("device: private/%s: %w", name, err)
	}
	defer clear(b)
	return d.home.PutPrivate(name, b)
}
