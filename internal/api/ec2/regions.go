package ec2

import (
	"context"
	"slices"

	"sekisho/internal/api"
	"sekisho/internal/wire/awsproto"
)

type describeRegionsRequest struct {
	tried
	AllRegions bool
	RegionName []string
	Filter     []filter
}

type region struct {
	OptInStatus    string `xml:"optInStatus"`
	RegionEndpoint string `xml:"regionEndpoint"`
	RegionName     string `xml:"regionName"`
}

type describeRegionsAnswer struct {
	RegionInfo set[region] `xml:"regionInfo"`
}

const noOptIn = "opt-in-not-required"

func (d *door) describeRegions(
	ctx context.Context,
	c *api.Call,
	in *describeRegionsRequest,
) (*describeRegionsAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	for _, name := range in.RegionName {
		if name != d.Region {
			return nil, awsproto.SenderError("InvalidParameterValue", "Invalid region provided: %.64s", name)
		}
	}
	all, err := selected(
		[]region{{noOptIn, c.Host, d.Region}},
		in.Filter,
		func(r region, name string) ([]string, bool) {
			switch name {
			case "endpoint":
				return []string{r.RegionEndpoint}, true
			case "region-name":
				return []string{r.RegionName}, true
			case "opt-in-status":
				return []string{r.OptInStatus}, true
			}
			return nil, false
		},
	)
	if err != nil {
		return nil, err
	}
	return &describeRegionsAnswer{set[region]{all}}, in.done()
}

type describeZonesRequest struct {
	tried
	AllAvailabilityZones bool
	ZoneName             []string
	ZoneID               []string `query:"ZoneId"`
	Filter               []filter
}

type zone struct {
	OptInStatus        string        `xml:"optInStatus"`
	MessageSet         set[struct{}] `xml:"messageSet"`
	RegionName         string        `xml:"regionName"`
	ZoneID             string        `xml:"zoneId"`
	ZoneName           string        `xml:"zoneName"`
	ZoneState          string        `xml:"zoneState"`
	ZoneType           string        `xml:"zoneType"`
	GroupName          string        `xml:"groupName"`
	NetworkBorderGroup string        `xml:"networkBorderGroup"`
}

type describeZonesAnswer struct {
	AvailabilityZoneInfo set[zone] `xml:"availabilityZoneInfo"`
}

func (d *door) describeAvailabilityZones(
	ctx context.Context,
	c *api.Call,
	in *describeZonesRequest,
) (*describeZonesAnswer, error) {
	if err := everything(ctx, c); err != nil {
		return nil, err
	}
	only := zone{
		OptInStatus: noOptIn, RegionName: d.Region, ZoneID: d.Region + "-az1", ZoneName: d.zone(), ZoneState: "available",
		ZoneType: "availability-zone", GroupName: d.Region, NetworkBorderGroup: d.Region,
	}
	for _, names := range []struct {
		given []string
		name  string
	}{{in.ZoneName, only.ZoneName}, {in.ZoneID, only.ZoneID}} {
		if i := slices.IndexFunc(names.given, func(s string) bool { return s != names.name }); i >= 0 {
			return nil, awsproto.SenderError(
				"InvalidParameterValue",
				"Invalid availability zone: [%.64s]",
				names.given[i],
			)
		}
	}
	all, err := selected([]zone{only}, in.Filter, func(z zone, name string) ([]string, bool) {
		switch name {
		case "zone-name":
			return []string{z.ZoneName}, true
		case "zone-id":
			return []string{z.ZoneID}, true
		case "region-name":
			return []string{z.RegionName}, true
		case "state":
			return []string{z.ZoneState}, true
		case "zone-type":
			return []string{z.ZoneType}, true
		case "group-name":
			return []string{z.GroupName}, true
		case "opt-in-status":
			return []string{z.OptInStatus}, true
		}
		return nil, false
	})
	if err != nil {
		return nil, err
	}
	return &describeZonesAnswer{set[zone]{all}}, in.done()
}
