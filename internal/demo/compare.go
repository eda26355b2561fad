package demo

import (
	"fmt"
	"slices"

	"zeropass.dev/zeropass/canonical"
	"zeropass.dev/zeropass/interchange"
)

// same returns how many of the wanted items are among the given ones with every
// field as it was. Order does not count; an item that is there twice does not
// count for another.
func same(want, got []interchange.Item) (int, error) {
	wanted, err := fingerprints(want)
	if err != nil {
		return 0, err
	}
	left, err := fingerprints(got)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, f := range wanted {
		if i := slices.Index(left, f); i >= 0 {
			left = slices.Delete(left, i, i+1)
			n++
		}
	}
	return n, nil
}

// fingerprint is the canonical bytes of an item's metadata and secret: equal
// exactly if every field is.
type fingerprint struct{ metadata, secret string }

func fingerprints(items []interchange.Item) ([]fingerprint, error) {
	all := make([]fingerprint, len(items))
	for i, item := range items {
		metadata, err := canonical.Marshal(item.Metadata)
		if err != nil {
			return nil, fmt.Errorf("compare %q: %w", item.Metadata.GetTitle(), err)
		}
		secret, err := canonical.Marshal(item.Secret)
		if err != nil {
			return nil, fmt.Errorf("compare %q: %w", item.Metadata.GetTitle(), err)
		}
		all[i] = fingerprint{string(metadata), string(secret)}
	}
	return all, nil
}
