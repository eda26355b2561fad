package server

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Places knows the country of an address, from a file in the MaxMind DB format
// that the operator brings. A nil *Places knows none.
type Places struct{ reader *maxminddb.Reader }

// OpenPlaces opens the file. The caller closes it.
func OpenPlaces(file string) (*Places, error) {
	reader, err := maxminddb.Open(file)
	if err != nil {
		return nil, fmt.Errorf("server: places: %w", err)
	}
	return &Places{reader}, nil
}

// Close lets go of the file.
func (p *Places) Close() error {
	if p == nil {
		return nil
	}
	return p.reader.Close()
}

// Country returns the ISO 3166-1 code of the country that the address, with or
// without a port, is in, or an empty string.
func (p *Places) Country(address string) string {
	if p == nil {
		return ""
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		address = host
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return ""
	}
	var record struct {
		Country struct {
			Code string `maxminddb:"iso_code"`
		} `maxminddb:"country"`
	}
	if err := p.reader.Lookup(ip.Unmap()).Decode(&record); err != nil || !isCountry(record.Country.Code) {
		return "" // a damaged file answers nothing, and stops nobody
	}
	return record.Country.Code
}

// isCountry says whether it has the form of a code, which goes into the subjects of
// mails.
func isCountry(code string) bool {
	return len(code) == 2 && 'A' <= code[0] && code[0] <= 'Z' && 'A' <= code[1] && code[1] <= 'Z'
}
