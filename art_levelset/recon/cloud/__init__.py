"""
The points before the fit: checked, in a unit frame, with local planes whose normals are turned outwards.

`clouds` checks points and has the frame; `quadrics` and `planes` fit planes and measure the distance to them;
`orientation` tells inside from outside, `sheets` below from above where there is no inside; `consistency` mends what
neighbouring planes contradict.
"""
