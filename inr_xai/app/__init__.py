"""`inr-xai app`: a page in the browser, in which a photo is dropped and its masks form.

Only `page` knows Gradio, which draws it; what happens behind the page is in the other modules.
"""
